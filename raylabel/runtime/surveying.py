"""What must be known of an endpoint before it is asked: how its models write boxes, and how it is told a schema.

Found out once per ``results_dir`` and model as the server knows it; a run with nothing left to ask asks nothing here.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from raylabel.calibration.asking import IN_FLIGHT
from raylabel.calibration.calibrating import settle, settle_reading
from raylabel.calibration.measured import Measured
from raylabel.calibration.reading import BoxReading
from raylabel.calibration.sheet import write_sheet
from raylabel.calibration.verdict import Verdict, verdict_from_json, verdict_to_json
from raylabel.clients.base import Client, Sampling, SchemaForm
from raylabel.clients.endpoints import (
    build_client,
    configured_profile,
    endpoint_of,
    retry_policy,
    sampling_for,
    with_key,
)
from raylabel.clients.schema_probe import forms_for, probe_schema_form
from raylabel.errors import ClientError, ConfigError, InputError
from raylabel.pipelines import steps_of
from raylabel.profiles import UNKNOWN, Profile, profile_for
from raylabel.prompts import Prompt
from raylabel.records import digest_of
from raylabel.settings import GroundingWorkflow, Settings, StepSettings, VlmSettings
from raylabel.steps.base import Step
from raylabel.steps.grounding import Grounding
from raylabel.store.folders import Folder, absolute
from raylabel.store.results import Results

MODELS_FILE = "models.json"

FIRST_TRIES = 3
"""Tries to reach the endpoint, one second apart."""


@dataclass(frozen=True)
class Survey:
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


def models_of(settings: Settings, step: type[Step]) -> list[Sampling]:
    """The models a step asks, with their sampling: one, or the voters of the grounding step."""
    sampling, workflow = sampling_for(settings, step.name), settings.pipeline.workflow
    if step is Grounding and isinstance(workflow, GroundingWorkflow) and workflow.voters:
        return [dataclasses.replace(sampling, model=model) for model in workflow.voters]
    return [sampling]


def prompt_of(settings: Settings, step: type[Step], profile: Profile) -> Prompt:
    """A step's question to a model of a family: the user's own, or that of the step.

    Raises:
        ConfigError: the file cannot be read, or placeholders are missing.
    """
    own: StepSettings = getattr(settings.steps, step.name)
    where = f"steps.{step.name}.prompt"
    if own.prompt:
        return step.prompt.replaced(own.prompt, where)
    if own.prompt_file:
        try:
            text = Path(own.prompt_file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{where}_file: cannot read {own.prompt_file}: {error}") from error
        return step.prompt.replaced(text, f"{where}_file")
    return step.prompt_for(profile)


def recall(settings: Settings, results: Results) -> Survey:
    """What earlier runs found out under the same settings; it may lack something (``is_complete``)."""
    stored = results.read_json(results.checkpoints, MODELS_FILE) or {}
    verdicts = {}
    for model in _box_models(settings):
        # What another version of raylabel found out is found out anew.
        with suppress(InputError):
            if (known := stored.get("models", {}).get(_key(settings, model))) is not None:
                verdicts[model] = verdict_from_json(known)
    form = stored.get("schema_forms", {}).get(endpoint_of(settings.pipeline.vlm))
    return Survey(verdicts, SchemaForm(form or SchemaForm.NATIVE), form is not None)


def is_complete(settings: Settings, known: Survey) -> bool:
    """Whether nothing that the settings need is missing."""
    if set(known.verdicts) != set(_box_models(settings)):
        return False
    unread = [m for m in _steps_handing(settings) if _checks_boxes(settings) and known.verdicts[m].reading is None]
    return not unread and (known.has_probed or not _probes_schemas(settings))


def warnings(settings: Settings, known: Survey) -> list[str]:
    """What a user should know before relying on the models, one sentence each."""
    handing = _steps_handing(settings)
    readings = {model: v.reading for model, v in known.verdicts.items() if model in handing}
    said = (reading.warning(model, handing[model]) for model, reading in readings.items() if reading is not None)
    return [f"warning: {sentence}" for sentence in said if sentence]


def remember(settings: Settings, results: Results, survey: Survey) -> None:
    """Keep a survey for later runs."""
    stored = results.read_json(results.checkpoints, MODELS_FILE) or {}
    models = {_key(settings, model): verdict_to_json(v) for model, v in survey.verdicts.items()}
    stored["models"] = stored.get("models", {}) | models
    if survey.has_probed:
        forms = {endpoint_of(settings.pipeline.vlm): survey.schema_form.value}
        stored["schema_forms"] = stored.get("schema_forms", {}) | forms
    results.write_json(results.checkpoints, MODELS_FILE, stored)


def survey(
    settings: Settings,
    vlm: VlmSettings,
    known: Survey,
    on_measured: Callable[[str, Measured], None] = lambda model, measured: None,
) -> Survey:
    """Ask the endpoint whatever is not known of it.

    Args:
        vlm: the pipeline's block, with the key in it.
        known: of an earlier run; what still holds is not asked again.
        on_measured: told of every measurement of a model, also of those that end in an error.

    Raises:
        CalibrationError: the boxes of a model cannot be had, or contradict the settings.
        ClientError: the endpoint turns us away, or nobody answers.
    """
    surveying = _survey(settings, vlm, known, on_measured)
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(surveying)
    with ThreadPoolExecutor(1) as thread:  # in a notebook this thread has a loop already
        return thread.submit(asyncio.run, surveying).result()


def calibrate(settings: Settings, out: Path, say: Callable[[str], None]) -> int:
    """Measure every model whose boxes matter, show the verdicts, draw them, and keep them for runs.

    Args:
        out: folder of the pictures, one a model; made if need be.

    Returns:
        0: the boxes of all of them come out right.

    Raises:
        CalibrationError: they do not; the picture shows how.
        ClientError: the endpoint turns us away, or nobody answers.
    """
    if not _box_models(settings):
        raise ConfigError("workflow.steps: none of the selected steps has to do with boxes: nothing to measure.")
    vlm = with_key(settings.pipeline.vlm, os.environ).model_copy(update={"calibrate": "always"})
    drawn: dict[str, Path] = {}

    def draw(model: str, measured: Measured) -> None:
        drawn[model] = out / f"{re.sub(r'[^A-Za-z0-9._-]+', '_', model)}.png"
        out.mkdir(parents=True, exist_ok=True)
        write_sheet(drawn[model], measured, model)

    try:
        found = survey(settings, vlm, Survey(), draw)
    finally:
        for path in drawn.values():
            say(f"drawn: {path}")
    for verdict in found.verdicts.values():
        say(verdict.in_words())
    for sentence in warnings(settings, found):
        say(sentence)
    remember(settings, Results(Folder(absolute(settings.results_dir))), found)
    return 0


async def _survey(
    settings: Settings, vlm: VlmSettings, known: Survey, on_measured: Callable[[str, Measured], None]
) -> Survey:
    client = build_client(vlm, os.environ)
    try:
        await _reach(client)
        verdicts = {}
        handing = _steps_handing(settings)
        for model, sampling in _box_models(settings).items():
            shown = _Shown(model, on_measured)
            verdicts[model] = await settle(
                client,
                sampling,
                retry_policy(settings),
                endpoint=endpoint_of(vlm),
                model=model,
                configured=configured_profile(vlm, model),
                known=known.verdicts.get(model),
                mode=vlm.calibrate,
                limits=settings.image,
                on_measured=shown.measured,
                prompt_for=partial(prompt_of, settings, Grounding),
                in_flight=min(IN_FLIGHT, settings.pipeline.workflow.max_workers),
            )
            if model in handing:
                verdicts[model] = await settle_reading(
                    client,
                    sampling,
                    retry_policy(settings),
                    verdicts[model],
                    handing[model],
                    limits=settings.image,
                    on_read=shown.read,
                )
        if not _probes_schemas(settings) or (known.has_probed and vlm.calibrate != "always"):
            return Survey(verdicts, known.schema_form, known.has_probed)
        sampling = sampling_for(settings, settings.pipeline.workflow.steps[0])
        form = await probe_schema_form(client, sampling, forms_for(vlm.backend), retry_policy(settings))
        return Survey(verdicts, form, has_probed=True)
    finally:
        await client.close()


class _Shown:
    """Passes on what is found out of a model, the reading of boxes together with the last measurement."""

    def __init__(self, model: str, on_measured: Callable[[str, Measured], None]) -> None:
        self._tell = partial(on_measured, model)
        self._last: Measured | None = None

    def measured(self, measured: Measured) -> None:
        self._last = measured
        self._tell(measured)

    def read(self, reading: BoxReading) -> None:
        if self._last is not None:
            self._tell(dataclasses.replace(self._last, reading=reading))


async def _reach(client: Client) -> None:
    for left in reversed(range(FIRST_TRIES)):
        try:
            await client.check()
        except ClientError as error:
            if error.verdict.ends_run or left == 0:
                raise
            await asyncio.sleep(1.0)
        else:
            return


def _box_models(settings: Settings) -> dict[str, Sampling]:
    """The models whose boxes matter, each with the sampling of a step that asks it."""
    steps: Sequence[type[Step]] = steps_of(settings.autolabel_type, settings.pipeline.workflow.steps)
    return {s.model: s for step in steps if step.holds_boxes for s in models_of(settings, step)}


def _steps_handing(settings: Settings) -> dict[str, list[str]]:
    """The models that boxes are handed to, each with the names of the steps that do so."""
    handing: dict[str, list[str]] = {}
    for step in steps_of(settings.autolabel_type, settings.pipeline.workflow.steps):
        for sampling in models_of(settings, step) if step.hands_boxes else ():
            handing.setdefault(sampling.model, []).append(step.name)
    return handing


def _checks_boxes(settings: Settings) -> bool:
    return settings.pipeline.vlm.calibrate != "never"


def _probes_schemas(settings: Settings) -> bool:
    vlm = settings.pipeline.vlm
    return vlm.structured_output == "auto" and vlm.calibrate != "never" and vlm.backend != "scripted"


def _key(settings: Settings, model: str) -> str:
    """An entry holds for an endpoint, a model, and what its user says of its boxes and asks in other words."""
    vlm = settings.pipeline.vlm
    question = prompt_of(settings, Grounding, UNKNOWN)
    own = "" if question == Grounding.prompt_for(UNKNOWN) else f" prompt={digest_of(question.text)}"
    said = f"profile={vlm.profile} order={vlm.boxes.order} scale={vlm.boxes.scale}{own}"
    return f"{endpoint_of(vlm)} {model} {said}"
