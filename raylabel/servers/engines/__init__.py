"""The kinds of servers, one file each; the names are those of ``serve.engine``."""

from __future__ import annotations

from collections.abc import Mapping

from raylabel.servers.engines.command import Command
from raylabel.servers.engines.engine import Cause, Engine, Launch, Phase
from raylabel.servers.engines.sglang import SGLang
from raylabel.servers.engines.vllm import VLLM

ENGINES: Mapping[str, Engine] = {engine.name: engine for engine in (VLLM(), SGLang(), Command())}

__all__ = ["ENGINES", "Cause", "Engine", "Launch", "Phase"]
