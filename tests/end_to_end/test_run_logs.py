"""What a run logs: results_dir/logs, bounded, useful and without secrets; and what --quiet prints."""

from __future__ import annotations

import io
import logging
from pathlib import Path

import pytest
from rich.console import Console

from raylabel.demo.world import World, build_world
from raylabel.errors import ConfigError, ServerError
from raylabel.runtime import run_log
from raylabel.runtime.in_process import InProcess
from raylabel.runtime.run import run
from raylabel.settings import load_settings
from tests.end_to_end.running import Seen, WireServer, command, endpoint, error, grounding, label
from tests.s3_server import S3Server

KEY, TAG, IN_URL = "sk-in-the-environment", "a-tag-of-my-own", "pw-in-a-url"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_world(tmp_path_factory.mktemp("world"), 12, seed=9)


def logged(results: Path) -> str:
    return "".join(path.read_text(encoding="utf-8") for path in sorted((results / "logs").iterdir()))


def every_third(message: str, status: int = 500, **headers: str):
    return lambda seen: error(status, message, **headers) if seen.number % 3 == 1 else None


def test_what_went_on_can_be_read_afterwards(world: World, tmp_path: Path) -> None:
    def misbehave(seen: Seen):
        if seen.number == 5:
            return error(429, "slow down", retry_after="0.2")
        return error(500, "the model fell over") if seen.number == 8 else None

    with WireServer(misbehave) as wire:
        label(grounding(world, tmp_path / "r", wire.url))
        wire.misbehave = lambda seen: error(401, "the key was withdrawn")
        stopped = label(grounding(world, tmp_path / "r", wire.url, "steps.grounding.temperature=0.7"))
    assert stopped.code == 2
    text = logged(tmp_path / "r")
    for words in (
        "INFO raylabel.runtime.run: raylabel ",
        "raylabel-demo-vlm: xyxy, 0-1000",
        "the endpoint turns a request away: ",
        "the endpoint: waiting: the endpoint takes no requests for now",
        "try 1 of 2 failed, next in ",
        "the model fell over",
        "15 records: 15 with boxes",
        "exit code 0 after ",
        "settled records are asked again. Changed since the last run: grounding: another sampling",
        "ERROR raylabel: ",
        "the key was withdrawn",
        "exit code 2 after ",
    ):
        assert words in text, words


def test_a_quiet_run_logs_no_requests(world: World, tmp_path: Path) -> None:
    with WireServer() as wire:
        label(grounding(world, tmp_path / "r", wire.url))
    assert len(logged(tmp_path / "r").splitlines()) <= 5


def test_no_secret_reaches_the_log(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OWN_KEY", KEY)
    monkeypatch.setenv("OWN_TAG", TAG)
    evil = f"no {KEY}, no {TAG}, http://me:{IN_URL}@host/v1?api_key={KEY} \x1b]0;pwned\x07\x1b[31mred"
    vlm = "image_grounding.vlm.openai"
    with WireServer(every_third(evil)) as wire:
        url = wire.url.replace("://", f"://me:{IN_URL}@")
        own = (
            f"{vlm}.api_key_env=OWN_KEY",
            f"{vlm}.extra_body={{user: '${{oc.env:OWN_TAG}}'}}",
            f"{vlm}.base_url={url}/v1",
        )
        logging.getLogger("raylabel").setLevel(logging.DEBUG)  # as -v does
        try:
            label(grounding(world, tmp_path / "r", wire.url, *own))
        finally:
            logging.getLogger("raylabel").setLevel(logging.NOTSET)
        text = logged(tmp_path / "r")
        assert "red" in text
        for secret in (KEY, TAG, IN_URL, "\x1b", "pwned"):
            assert secret not in text, secret


def test_the_log_is_bounded(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_log, "FILE_BYTES", 2000)
    with WireServer(every_third("x" * 300)) as wire:
        for temperature in range(6):
            label(grounding(world, tmp_path / "r", wire.url, f"steps.grounding.temperature=0.{temperature}"))
    files = sorted((tmp_path / "r" / "logs").iterdir())
    assert [path.name for path in files] == ["raylabel.log", *(f"raylabel.log.{n}" for n in (1, 2, 3))]
    assert all(path.stat().st_size <= 2000 for path in files)


def test_a_run_goes_on_where_no_log_can_be_written(world: World, tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "logs").write_text("no folder")
    with WireServer() as wire:
        assert label(grounding(world, tmp_path / "r", wire.url)).code == 0


def test_what_ends_a_run_is_logged_and_nothing_stays_behind(world: World, tmp_path: Path) -> None:
    class Breaks(InProcess):
        def has_ended(self) -> bool:
            raise ServerError("the workers are gone")

    class Defect(InProcess):
        def has_ended(self) -> bool:
            raise ZeroDivisionError

    handlers = list(logging.getLogger().handlers)
    with WireServer() as wire:
        for broken, raised in ((Breaks(), ServerError), (Defect(), ZeroDivisionError)):
            with pytest.raises(raised):
                label(grounding(world, tmp_path / "r", wire.url), executor=broken)
    text = logged(tmp_path / "r")
    assert "ERROR raylabel: the run ends: the workers are gone" in text
    assert "Traceback" in text
    assert "ZeroDivisionError" in text
    assert logging.getLogger().handlers == handlers


def test_a_refusal_to_begin_leaves_no_log(world: World, tmp_path: Path) -> None:
    with WireServer() as wire:
        label(grounding(world, tmp_path / "r", wire.url))
        before = logged(tmp_path / "r")
        other = tmp_path / "other.jsonl"
        other.write_bytes(world.captions_path.read_bytes())
        with pytest.raises(ConfigError):
            label(grounding(world, tmp_path / "r", wire.url, f"image_grounding.data.input_jsonl={other}"))
    assert logged(tmp_path / "r") == before


def test_the_log_of_results_in_a_bucket_lies_there_too(world: World) -> None:
    data = {"input_jsonl": world.captions_path, "image_root": world.images_dir}
    given = [f"image_grounding.data.{key}={path}" for key, path in data.items()]
    with S3Server() as s3, WireServer() as wire:
        where = f"results_dir={s3.uri('results/a')}"
        settings = load_settings(None, [where, *endpoint("image_grounding", wire.url), *given])
        assert run(settings, InProcess(), console=Console(file=io.StringIO())) == 0
        text = s3.objects["results/a/logs/raylabel.log"][0].decode()
    assert "raylabel-demo-vlm: xyxy" in text
    assert "15 records: 15 with boxes" in text


def test_quiet_prints_the_result_and_verbose_what_is_logged(world: World, tmp_path: Path) -> None:
    config = tmp_path / "a.yaml"
    config.write_text("autolabel_type: image_grounding\n")
    data = {"input_jsonl": world.captions_path, "image_root": world.images_dir}
    with WireServer() as wire:
        words = [f"image_grounding.data.{key}={path}" for key, path in data.items()]
        words += [*endpoint("image_grounding", wire.url), f"results_dir={tmp_path / 'r'}"]
        quiet = command("run", "--quiet", str(config), *words, cwd=tmp_path)
        wire.misbehave = every_third("the model fell over")
        verbose = command("run", "-v", "-q", str(config), *words, "steps.grounding.temperature=0.4", cwd=tmp_path)
        wire.misbehave = lambda seen: error(401, "the key was withdrawn")
        fails = command("run", "-q", str(config), *words, "steps.grounding.temperature=0.5", cwd=tmp_path)
    assert quiet.returncode == 0
    assert quiet.stderr == ""
    first, last = quiet.stdout.splitlines()
    assert first.startswith("15 records: 15 with boxes; ")
    assert last.endswith(f"s; results in {tmp_path / 'r'}/annotations.jsonl")
    assert len(verbose.stdout.splitlines()) == 2
    assert "raylabel.clients.retry: INFO: try 1 of 2 failed" in verbose.stderr
    assert fails.returncode == 2
    assert len(fails.stderr.splitlines()) == 1
    assert "the key was withdrawn" in fails.stderr
