"""The table of engines: command lines, and what their logs tell."""

from __future__ import annotations

import typing
from dataclasses import replace
from pathlib import Path

import pytest

from raylabel.servers.engines import ENGINES, Launch
from raylabel.servers.log import ServerLog
from raylabel.servers.metrics import Load
from raylabel.settings import ServeSettings

LOGS = Path(__file__).parents[1] / "data" / "servers"


def command(engine: str, gpus: int = 1, **settings: object) -> list[str]:
    serve = ServeSettings.model_validate({"model": "org/model", "engine": engine, **settings})
    return ENGINES[engine].command(Launch(serve, "127.0.0.1", 8123, "python", gpus))


def log_of(engine: str, text: str, folder: Path) -> ServerLog:
    """A log whose present start wrote this."""
    path = folder / "a.log"
    path.write_text("an earlier start: CUDA out of memory\n")
    log = ServerLog(path, ENGINES[engine].phases)
    with path.open("a") as file:
        file.write(text)
    return log


def test_the_table_has_the_names_that_can_be_set() -> None:
    assert set(ENGINES) == set(typing.get_args(ServeSettings.model_fields["engine"].annotation))


def test_vllm_is_started_as_labelling_needs_it() -> None:
    words = command("vllm", served_model_name="short")
    assert words[:3] == ["python", "-m", "vllm.entrypoints.openai.api_server"]
    line = " ".join(words)
    assert "--model org/model --served-model-name short --host 127.0.0.1 --port 8123" in line
    assert "--enable-prefix-caching" in words
    assert "--enable-prompt-tokens-details" in words
    assert '--limit-mm-per-prompt {"image": 1, "video": 0}' in line
    assert "--max-model-len auto" in line
    assert "--tensor-parallel-size" not in words


@pytest.mark.parametrize(
    ("args", "flag"),
    [
        pytest.param(["--max-model-len", "8192"], "--max-model-len", id="another-value"),
        pytest.param(["--max_model_len=8192"], "--max-model-len", id="underscores-and-equals"),
        pytest.param(["--no-enable-prefix-caching"], "--enable-prefix-caching", id="turned-off"),
        pytest.param(["--limit-mm-per-prompt.image", "4"], "--limit-mm-per-prompt", id="a-part-of-it"),
        pytest.param(["-tp", "2"], "--tensor-parallel-size", id="short-name"),
    ],
)
def test_a_flag_of_the_user_takes_the_place_of_a_default(args: list[str], flag: str) -> None:
    assert flag in command("vllm", gpus=4)
    words = command("vllm", gpus=4, args=args)
    assert flag not in words[: -len(args)]
    assert words[-len(args) :] == args


def test_vllm_may_read_one_folder_of_pictures() -> None:
    serve = ServeSettings.model_validate({"model": "org/model"})
    launch = Launch(serve, "127.0.0.1", 8123, "python", pictures="/tmp/shown")
    assert "--allowed-local-media-path /tmp/shown" in " ".join(ENGINES["vllm"].command(launch))
    assert "--allowed-local-media-path" not in command("vllm")
    assert serve.reads_pictures
    own = serve.model_copy(update={"args": ["--allowed_local_media_path=/data"]})
    assert not own.reads_pictures, "it is told another folder"
    assert "/tmp/shown" not in ENGINES["vllm"].command(replace(launch, serve=own))


def test_tensor_parallel_follows_the_gpus() -> None:
    assert "--tensor-parallel-size 4" in " ".join(command("vllm", gpus=4))
    assert "--tp-size 4" in " ".join(command("sglang", gpus=4))


def test_sglang_is_started_with_metrics_and_cached_tokens_reported() -> None:
    line = " ".join(command("sglang"))
    assert "-m sglang.launch_server --model-path org/model --served-model-name org/model" in line
    assert "--enable-metrics --enable-cache-report" in line
    assert "--tensor-parallel-size 2" not in " ".join(command("sglang", gpus=4, args=["--tp", "2"]))


def test_a_command_has_its_placeholders_filled_in() -> None:
    words = command(
        "command", command=["{python}", "serve.py", "--at={host}:{port}", '{"model": "{model}"}'], args=["-v"]
    )
    assert words == ["python", "serve.py", "--at=127.0.0.1:8123", '{"model": "org/model"}', "-v"]


TRACEBACK = "(EngineCore pid=12) ERROR 11-26 03:50:26 [core.py:1510] "


@pytest.mark.parametrize(
    ("log", "cause", "advice"),
    [
        pytest.param("vllm-unknown-flag.log", "unknown flag", "serve.args", id="flag"),
        pytest.param("vllm-unknown-architecture.log", "unknown architecture", "newer", id="architecture"),
        pytest.param("vllm-unknown-model.log", "unknown model", "hub", id="not-on-the-hub"),
        pytest.param("vllm-no-such-folder.log", "unknown model", "folder", id="no-folder"),
        pytest.param("vllm-port-taken.log", "port taken", "serve.port", id="port"),
        pytest.param("vllm-context-too-long.log", "context too long", "--max-model-len", id="context"),
        pytest.param("vllm-out-of-memory-cpu.log", "out of memory", "--gpu-memory-utilization", id="cpu-memory"),
        pytest.param("vllm-engine-killed.log", "engine died", "killed", id="engine-killed"),
    ],
)
def test_what_vllm_said_is_understood(log: str, cause: str, advice: str, tmp_path: Path) -> None:
    """The logs are those of vLLM 0.32 on a CPU."""
    found = log_of("vllm", (LOGS / log).read_text(), tmp_path).cause(ENGINES["vllm"].causes)
    assert found is not None
    assert found[0].name == cause
    assert advice in found[0].sentence
    assert not found[1].startswith("(")


@pytest.mark.parametrize(
    ("engine", "line", "cause"),
    [
        pytest.param(
            "vllm",
            f"{TRACEBACK}torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.32 GiB.",
            "out of memory",
            id="weights",
        ),
        pytest.param(
            "vllm",
            f"{TRACEBACK}ValueError: Free memory on device cuda:0 (3.2/24.0 GiB) on startup is less than desired "
            "GPU memory utilization (0.9, 21.6 GiB). Decrease GPU memory utilization or reduce GPU memory used.",
            "out of memory",
            id="gpu-in-use",
        ),
        pytest.param(
            "vllm",
            f"{TRACEBACK}ValueError: To serve at least one request with the models's max seq len (32768), (4.0 GiB "
            "KV cache is needed, which is larger than the available KV cache memory (1.2 GiB).",
            "out of memory",
            id="cache",
        ),
        pytest.param("vllm", "OSError: You are trying to access a gated repo.", "gated model", id="gated"),
        pytest.param(
            "vllm",
            "RuntimeError: The NVIDIA driver on your system is too old (found version 12040).",
            "driver too old",
            id="driver",
        ),
        pytest.param("vllm", "venv/bin/python: No module named vllm", "package missing", id="no-vllm"),
        pytest.param(
            "vllm",
            "importlib.metadata.PackageNotFoundError: No package metadata was found for vllm",
            "package missing",
            id="no-metadata",
        ),
        pytest.param(
            "vllm", "ModuleNotFoundError: No module named 'torchvision'", "package missing", id="no-torchvision"
        ),
        pytest.param("vllm", "RuntimeError: No CUDA GPUs are available", "no GPU", id="no-gpu"),
        pytest.param("vllm", "OSError: [Errno 28] No space left on device", "disk full", id="disk"),
        pytest.param(
            "vllm",
            "  Value error, Please pass the argument `trust_remote_code=True` to allow custom code to be run.",
            "remote code",
            id="remote-code",
        ),
        pytest.param(
            "sglang",
            "[2026-11-26 03:47:09 TP0] RuntimeError: Not enough memory. Please try to increase --mem-fraction-static.",
            "out of memory",
            id="sglang-memory",
        ),
        pytest.param(
            "command",
            "ERROR:    [Errno 98] error while attempting to bind on address ('127.0.0.1', 81): address already in use",
            "port taken",
            id="uvicorn-port",
        ),
    ],
)
def test_a_line_that_tells_the_cause_is_understood(engine: str, line: str, cause: str, tmp_path: Path) -> None:
    """Lines as vLLM, SGLang, PyTorch and the hub's library write them, on machines with GPUs."""
    found = log_of(engine, f"INFO: starting\n{line}\nTraceback\n", tmp_path).cause(ENGINES[engine].causes)
    assert found is not None
    assert found[0].name == cause


def test_a_start_that_went_well_tells_no_cause_but_its_phases(tmp_path: Path) -> None:
    text = (LOGS / "vllm-ready.log").read_text()
    log = log_of("vllm", "", tmp_path)
    assert log.cause(ENGINES["vllm"].causes) is None
    phases = [log.phase]
    for line in text.splitlines(keepends=True):
        with log.path.open("a") as file:
            file.write(line)
        if (phase := log.follow()) != phases[-1]:
            phases.append(phase)
    assert phases == ["starting", "starting its engine", "loading weights", "preparing memory", "opening its port"]
    assert log.cause(ENGINES["vllm"].causes) is None


def test_the_log_of_an_earlier_start_does_not_count(tmp_path: Path) -> None:
    assert log_of("vllm", "RuntimeError: something new\n", tmp_path).cause(ENGINES["vllm"].causes) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param(
            'Traceback (most recent call last):\n  File "a.py", line 1\nKeyError: 3\nbye\n', "KeyError: 3", id="e"
        ),
        pytest.param("loading\n\nstill loading\n\n", "still loading", id="last-line"),
        pytest.param(f"{TRACEBACK}ValueError: \x1b[31mno\n", "ValueError: no", id="without-prefix-and-colors"),
        pytest.param("", "", id="nothing"),
    ],
)
def test_the_last_words_are_the_line_that_says_most(text: str, words: str, tmp_path: Path) -> None:
    assert log_of("vllm", text, tmp_path).last_words() == words


def test_the_load_is_read_from_the_metrics() -> None:
    text = (
        "# HELP vllm:num_requests_running Number of requests\n"
        'vllm:num_requests_running{engine="0",model_name="a"} 2.0\nvllm:num_requests_running{engine="1"} 1.0\n'
        'vllm:num_requests_waiting{engine="0"} 5.0\nvllm:prompt_tokens_total{engine="0"} 1.5e+03\n'
        'vllm:generation_tokens_total{engine="0"} 40.0\nvllm:kv_cache_usage_perc{engine="0"} NaN\n'
    )
    assert ENGINES["vllm"].metrics.read(text) == Load(3.0, 5.0, 1540.0)
    assert ENGINES["command"].metrics.read(text) == Load(3.0, 5.0, 1540.0)
    assert ENGINES["sglang"].metrics.read(text) is None
    assert ENGINES["command"].metrics.read("<html>not found</html>") is None
