"""What is known of an endpoint: how its models write and read boxes, and how it is told a schema.

Kept in ``models.json`` per ``results_dir``, under the endpoint, the model and what its user says of it; a run with
nothing left to ask asks nothing here.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from raylabel.clients.base import SchemaForm
from raylabel.clients.endpoints import backend_of, endpoint_of, members_of
from raylabel.errors import InputError
from raylabel.probing.models import box_models, build_target, models_of, prompt_of, steps_sending_boxes
from raylabel.probing.verdict import Verdict, verdict_from_json, verdict_to_json
from raylabel.profiles import UNKNOWN, Profile, profile_for
from raylabel.records import digest_of
from raylabel.settings import Settings
from raylabel.steps.base import ModelTarget, Step
from raylabel.steps.grounding import Grounding
from raylabel.store.results import Results

MODELS_FILE = "models.json"


@dataclass(frozen=True)
class EndpointFacts:
    """What is known of the endpoint.

    Args:
        verdicts: by model as configured, for the models whose boxes matter.
        schema_form: how the endpoint is told a schema.
        has_probed: ``schema_form`` was found out, not assumed.
    """

    verdicts: Mapping[str, Verdict] = field(default_factory=dict)
    schema_form: SchemaForm = SchemaForm.NATIVE
    has_probed: bool = False

    def profile_of(self, model: str) -> Profile:
        """How a model is asked for boxes and read; where that does not matter, what its name suggests."""
        verdict = self.verdicts.get(model)
        return verdict.asked_as if verdict is not None else profile_for([model]) or UNKNOWN

    def targets_of(self, settings: Settings, step: type[Step]) -> tuple[ModelTarget, ...]:
        """The models that a step asks, as its questions see them, in the order of ``models_of``.

        Raises:
            ConfigError: the user's own prompt cannot be read, or lacks placeholders.
        """
        targets = []
        for sampling in models_of(settings, step):
            profile = self.profile_of(sampling.model)
            targets.append(build_target(prompt_of(settings, step, profile), profile, settings.image))
        return tuple(targets)


def load_facts(settings: Settings, results: Results) -> EndpointFacts:
    """What earlier runs found out under the same settings; it may lack something (``is_complete``)."""
    stored = results.read_json(results.checkpoints, MODELS_FILE) or {}
    verdicts = {}
    for model in box_models(settings):
        # What another version of raylabel found out is found out anew.
        with suppress(InputError):
            models = stored.get("models", {})
            known = next((models[key] for key in _keys(settings, model) if key in models), None)
            if known is not None:
                verdicts[model] = verdict_from_json(known)
    forms = stored.get("schema_forms", {})
    form = next((forms[name] for name in _endpoints(settings) if name in forms), None)
    return EndpointFacts(verdicts, SchemaForm(form or SchemaForm.NATIVE), form is not None)


def save_facts(settings: Settings, results: Results, facts: EndpointFacts) -> None:
    """Keep what was found out for later runs."""
    stored = results.read_json(results.checkpoints, MODELS_FILE) or {}
    models = {key: verdict_to_json(v) for model, v in facts.verdicts.items() for key in _keys(settings, model)}
    stored["models"] = stored.get("models", {}) | models
    if facts.has_probed:
        forms = dict.fromkeys(_endpoints(settings), facts.schema_form.value)
        stored["schema_forms"] = stored.get("schema_forms", {}) | forms
    results.write_json(results.checkpoints, MODELS_FILE, stored)


def is_complete(settings: Settings, facts: EndpointFacts) -> bool:
    """Whether nothing that the settings need is missing."""
    if set(facts.verdicts) != set(box_models(settings)):
        return False
    unread = [model for model in steps_sending_boxes(settings) if facts.verdicts[model].reading is None]
    if unread and settings.pipeline.vlm.calibrate != "never":
        return False
    return facts.has_probed or not probes_schemas(settings)


def warnings(settings: Settings, facts: EndpointFacts) -> list[str]:
    """What a user should know before relying on the models, one sentence each."""
    steps = steps_sending_boxes(settings)
    readings = {model: v.reading for model, v in facts.verdicts.items() if model in steps}
    sentences = (reading.warning(model, steps[model]) for model, reading in readings.items() if reading is not None)
    return [f"warning: {sentence}" for sentence in sentences if sentence]


def probes_schemas(settings: Settings) -> bool:
    """Whether a run asks how the endpoint is told a schema."""
    vlm = settings.pipeline.vlm
    return vlm.structured_output == "auto" and vlm.calibrate != "never" and backend_of(vlm).is_model


def _endpoints(settings: Settings) -> list[str]:
    """Each serves the same model: what is known of one is known of all, and of those that join them later."""
    return [endpoint_of(member.vlm) for member in members_of(settings.pipeline.vlm)]


def _keys(settings: Settings, model: str) -> list[str]:
    """An entry holds for an endpoint, a model, and what its user says of its boxes and asks in other words."""
    vlm = settings.pipeline.vlm
    question = prompt_of(settings, Grounding, UNKNOWN)
    own = "" if question == Grounding.prompt_for(UNKNOWN) else f" prompt={digest_of(question.text)}"
    configured = f"profile={vlm.profile} order={vlm.boxes.order} scale={vlm.boxes.scale}{own}"
    return [f"{endpoint} {model} {configured}" for endpoint in _endpoints(settings)]
