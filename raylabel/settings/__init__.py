"""The specification of a run: what can be set, read from a file and the command line, checked, and what is shown of it.

``root``, ``vlm``, ``backends``, ``serve`` and ``steps`` declare the settings as blocks (``raylabel.blocks``).
``loading`` reads, merges and resolves them, ``messages`` says in one sentence what is wrong, ``needs`` what a run
cannot do without. ``default_file`` writes the default specification, ``secrets`` masks.
"""

from collections.abc import Sequence
from pathlib import Path

from raylabel.blocks import Block
from raylabel.settings.backends import BackendSettings
from raylabel.settings.backends.anthropic import AnthropicSettings
from raylabel.settings.backends.gemini import GeminiSettings
from raylabel.settings.backends.openai import EndpointSettings, OpenAISettings
from raylabel.settings.backends.scripted import ScriptedSettings
from raylabel.settings.default_file import default_specification
from raylabel.settings.nearest import did_you_mean, nearest
from raylabel.settings.overrides import without_dashes
from raylabel.settings.plugins import Carried, know_steps, use_loaded, use_plugins
from raylabel.settings.root import (
    HOST_AND_PORT,
    DoubleCheckSettings,
    GroundingData,
    GroundingPipeline,
    GroundingWorkflow,
    ImageSettings,
    LimitSettings,
    RaySettings,
    ReferringData,
    ReferringPipeline,
    ReferringWorkflow,
    Settings,
)
from raylabel.settings.secrets import mask_of, masked_words, redacted
from raylabel.settings.serve import ServeSettings, interpreter_of
from raylabel.settings.served import at_addresses
from raylabel.settings.steps import StepBlock, resolve_steps
from raylabel.settings.vlm import BoxSettings, VlmSettings
from raylabel.steps.settings import StepSettings
from raylabel.urls import mask_urls

__all__ = [
    "HOST_AND_PORT",
    "AnthropicSettings",
    "BackendSettings",
    "Block",
    "BoxSettings",
    "Carried",
    "DoubleCheckSettings",
    "EndpointSettings",
    "GeminiSettings",
    "GroundingData",
    "GroundingPipeline",
    "GroundingWorkflow",
    "ImageSettings",
    "LimitSettings",
    "OpenAISettings",
    "RaySettings",
    "ReferringData",
    "ReferringPipeline",
    "ReferringWorkflow",
    "ScriptedSettings",
    "ServeSettings",
    "Settings",
    "StepBlock",
    "StepSettings",
    "VlmSettings",
    "at_addresses",
    "default_specification",
    "did_you_mean",
    "interpreter_of",
    "know_steps",
    "load_settings",
    "mask_of",
    "mask_urls",
    "masked_words",
    "nearest",
    "redacted",
    "resolve_steps",
    "use_loaded",
    "use_plugins",
    "without_dashes",
]


def load_settings(
    path: Path | None, overrides: Sequence[str] = (), needs_input: bool = True, plugins: Sequence[str] = ()
) -> Settings:
    """Read, merge and check a specification.

    Steps come back as names in pipeline order, ``media_resolution`` in its long spelling, ``~`` in paths expanded.

    Args:
        path: a YAML file; None: defaults and overrides only.
        overrides: ``dotted.key=value``; values as in YAML, text as it stands; ``key=`` means "not set".
        needs_input: whether the input has to be given.
        plugins: beside those that the specification names. The steps of all of them are known from then on, and those
            of plugins that it does not name are not.

    Raises:
        ConfigError: one sentence that names the key, what was found, what is allowed and the nearest valid spelling.
    """
    from raylabel.settings.loading import load  # OmegaConf takes 70 ms, which ``--help`` need not wait for

    return load(path, overrides, needs_input, plugins)
