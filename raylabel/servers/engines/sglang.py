"""SGLang. Flags, metrics and log lines are those of its documentation and issues; never run here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from raylabel.servers.engines.engine import (
    COMMON_CAUSES,
    COMMON_PHASES,
    Cause,
    Engine,
    Launch,
    Phase,
    cause,
    module_command,
    phase,
    with_defaults,
)
from raylabel.servers.metrics import Metrics, PrometheusMetrics

_ALIASES = {"tensor-parallel-size": "tp-size", "tp": "tp-size"}

_CAUSES = (
    cause(
        "out of memory",
        r"Not enough memory\. Please try to increase --mem-fraction-static",
        "out of memory; choose a smaller model or more GPUs (serve.gpus_per_replica), or set --mem-fraction-static in "
        "serve.args",
    ),
)

_PHASES = (
    phase("loading weights", r"Load weight begin"),
    phase("preparing memory", r"Load weight end|Memory pool end"),
    phase("capturing graphs", r"Capture cuda graph begin"),
    phase("opening its port", r"Capture cuda graph end|Application startup complete|ready to roll"),
)


@dataclass(frozen=True)
class SGLang(Engine):
    """``python -m sglang.launch_server``, whose prefix cache is on unless it is turned off."""

    name = "sglang"
    causes: Sequence[Cause] = (*_CAUSES, *COMMON_CAUSES)
    phases: Sequence[Phase] = (*COMMON_PHASES, *_PHASES)
    metrics: Metrics = field(
        default_factory=lambda: PrometheusMetrics(
            running="sglang:num_running_reqs",
            waiting="sglang:num_queue_reqs",
            done=("sglang:prompt_tokens_total", "sglang:generation_tokens_total", "sglang:num_requests_total"),
            cache=("sglang:token_usage",),
        )
    )

    def command(self, launch: Launch) -> list[str]:
        defaults = [
            ["--enable-metrics"],
            ["--enable-cache-report"],
            ["--limit-mm-data-per-request", '{"image": 1}'],
            *([["--tp-size", str(launch.gpus)]] if launch.gpus > 1 else []),
        ]
        flags = with_defaults(defaults, launch.serve.args, _ALIASES)
        return module_command(launch, "sglang.launch_server", "--model-path", flags)
