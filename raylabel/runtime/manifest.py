"""``run.json``: what was done, with what, and what came of it."""

from __future__ import annotations

import logging
import platform
import time
from datetime import datetime, timezone
from importlib.metadata import version

from raylabel import __version__
from raylabel.clients.endpoints import backend_of
from raylabel.errors import StoreError
from raylabel.probing.facts import EndpointFacts
from raylabel.probing.verdict import verdict_to_json
from raylabel.records import JsonObject
from raylabel.runtime.coordinator import Status
from raylabel.runtime.costs import Costs
from raylabel.runtime.delivery import Counts
from raylabel.runtime.spec import RunSpec
from raylabel.runtime.summary import endpoints_json, spent_json, summary_json
from raylabel.settings import Settings, redacted
from raylabel.store.results import Results

logger = logging.getLogger(__name__)


def write_manifest(
    results: Results,
    settings: Settings,
    spec: RunSpec,
    known: EndpointFacts,
    counts: Counts,
    status: Status | None,
    costs: Costs,
    extent: JsonObject,
    started: float,
    code: int | None,
) -> None:
    """Write ``run.json`` into the results folder.

    Args:
        extent: how much was to be labeled, and what is expected of the rest; part of the file as it is.
        started: seconds since 1970.
        code: exit code; None while the run goes on.
    """
    extra = backend_of(settings.pipeline.vlm).extra
    packages = ("ray", "pyarrow", "pillow", "openai", "google-genai", "genai-prices", *([extra] if extra else []))
    manifest: JsonObject = {
        "run": spec.run,
        "started": datetime.fromtimestamp(started, timezone.utc).isoformat(timespec="seconds"),
        "seconds": round(time.time() - started, 1),
        "exit_code": code,
        **extent,
        "counts": counts.to_json(),
        "requests": summary_json(status, costs),
        "endpoints": endpoints_json(status),
        "spent": spent_json(status, costs),
        "stored": _stored(results, settings, costs),
        "pace": status.limit if status else "",
        "nodes": dict(status.nodes) if status else {},
        "generations": spec.generations,
        "prompts": {p.step.name: p.setup.prompt.version for p in spec.selected},
        "models": {model: verdict_to_json(v) for model, v in known.verdicts.items()},
        "schema_form": known.schema_form.value,
        "versions": {
            "raylabel": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in packages},
        },
        "plugins": [{"name": plugin.name, "digest": plugin.digest} for plugin in settings.loaded_plugins],
        "configuration": redacted(settings),
    }
    results.write_json(results.root, "run.json", manifest)


def _stored(results: Results, settings: Settings, costs: Costs) -> JsonObject | None:
    """What all replies in the store took; None where they are elsewhere, and to read them all would take long."""
    if not results.root.is_local:
        return None
    try:
        return costs.stored_json(results, [step.directory for step in settings.selected_steps])
    except StoreError as error:  # the run itself is over, and went well
        logger.info("what the stored replies cost is not known: %s", error)
        return None
