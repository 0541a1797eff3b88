"""What ``raylabel calibrate`` does."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from raylabel.clients.endpoints import with_key
from raylabel.errors import ConfigError
from raylabel.probing.endpoint import probe_endpoint
from raylabel.probing.facts import EndpointFacts, save_facts, warnings
from raylabel.probing.measurement import Measurement
from raylabel.probing.models import box_models
from raylabel.probing.sheet import write_sheet
from raylabel.settings import Settings, at_addresses
from raylabel.storage.folders import Folder
from raylabel.storage.locations import absolute
from raylabel.store.results import Results


def calibrate(settings: Settings, out: Path, say: Callable[[str], None], url: str = "") -> int:
    """Measure every model whose boxes matter, show the verdicts, draw them, and keep them for runs.

    Args:
        out: folder of the pictures, one a model; made if need be.
        url: of the server that is asked, where the settings do not say it.

    Returns:
        0: the boxes of all of them come out right.

    Raises:
        CalibrationError: they do not; the picture shows how.
        ClientError: the endpoint turns us away, or nobody answers.
    """
    if not box_models(settings):
        raise ConfigError("workflow.steps: none of the selected steps has to do with boxes: nothing to measure.")
    asked = at_addresses(settings, [url]) if url else settings
    vlm = with_key(asked.pipeline.vlm, os.environ).model_copy(update={"calibrate": "always"})
    drawn: dict[str, Path] = {}

    def draw(model: str, measured: Measurement) -> None:
        drawn[model] = out / f"{re.sub(r'[^A-Za-z0-9._-]+', '_', model)}.png"
        out.mkdir(parents=True, exist_ok=True)
        write_sheet(drawn[model], measured, model)

    try:
        found = probe_endpoint(asked, vlm, EndpointFacts(), draw)
    finally:
        for path in drawn.values():
            say(f"drawn: {path}")
    for verdict in found.verdicts.values():
        say(verdict.describe())
    for sentence in warnings(settings, found):
        say(sentence)
    save_facts(settings, Results(Folder(absolute(settings.results_dir))), found)
    return 0
