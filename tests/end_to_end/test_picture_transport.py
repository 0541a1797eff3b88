"""Pictures that a model server reads from files: the same labels, small requests, and servers that do not read them."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from raylabel.cli import main
from raylabel.demo.server.http_server import DemoServer
from raylabel.demo.world import World, build_world
from raylabel.images import readable_folder
from raylabel.runtime.in_process import InProcess
from raylabel.runtime.run import run
from raylabel.runtime.served import OwnServers, Served
from raylabel.servers.background import ServersInBackground
from raylabel.servers.standing import standing
from raylabel.settings import Settings, load_settings
from tests.served_here import served_here
from tests.servers.serving import DEMO

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")

READS = ["--allowed-local-media-path", "{pictures}"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_world(tmp_path_factory.mktemp("world"), 10)


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def specified(world: World, results: Path, *, url: str = "", options: list[str] = READS, **image: Any) -> Settings:
    """A specification of a server at an address, or else of the demo's, started with options."""
    data = {"input_jsonl": str(world.captions_path), "image_root": str(world.images_dir)}
    openai = {"temperature": 0, **({"base_url": f"{url}/v1", "model_name": "demo"} if url else {})}
    serve = {} if url else {"serve": {"model": "demo", "engine": "command", "command": [*DEMO, *options]}}
    content = {
        "results_dir": str(results),
        "image_grounding": {"vlm": {"backend": "openai", "openai": openai}, "data": data},
        "image": image,
        "retry": {"backoff": 0.01, "max_backoff": 0.02},
        **serve,
    }
    path = results.with_suffix(".yaml")
    path.write_text(json.dumps(content), encoding="utf-8")
    return load_settings(path)


def label(settings: Settings, server: DemoServer | None = None) -> tuple[int, str, dict[str, Any]]:
    """The exit code of a run in this process, what it said, and what it cost the server, which stands."""
    console = Console(file=io.StringIO(), width=200)
    assert isinstance(console.file, io.StringIO)
    if server is None:
        code = run(settings, InProcess(), console=console)
        return code, console.file.getvalue(), {}
    before = server.stats()
    with standing(settings.serve, [f"http://127.0.0.1:{server.server_address[1]}/v1"]):
        code = run(
            settings,
            Served(
                InProcess(), OwnServers(settings, ServersInBackground(settings.serve, settings.results_dir), console)
            ),
            console=console,
        )
    after = server.stats()
    return code, console.file.getvalue(), {name: after[name] - before[name] for name in ("requests", "body_bytes")}


def annotations_of(results: Path) -> bytes:
    return (results / "annotations.jsonl").read_bytes()


def shown_files() -> list[Path]:
    """What is left in the folder that servers read."""
    return [path for path in readable_folder().glob("*/*") if path.suffix in (".jpg", ".png", ".webp")]


@pytest.mark.parametrize("max_pixels", [0, 30_000], ids=["as-they-are", "resized"])
def test_a_server_of_our_own_reads_files_and_the_labels_are_the_same(
    world: World, tmp_path: Path, max_pixels: int
) -> None:
    files, bodies = tmp_path / "files", tmp_path / "bodies"
    with served_here("--model", "demo", "--allowed-local-media-path", str(readable_folder())) as server:
        _, _, by_file = label(specified(world, files, max_pixels=max_pixels), server)
        _, _, by_body = label(specified(world, bodies, max_pixels=max_pixels, transport="base64"), server)
        assert set(server.stats()["statuses"]) == {"200"}
    assert annotations_of(files) == annotations_of(bodies)
    assert by_file["requests"] == by_body["requests"]
    assert by_file["body_bytes"] < by_body["body_bytes"] / 2, "drawn pictures of raylabel's own are among both"
    assert shown_files() == []


def test_another_transport_asks_nothing_again(world: World, tmp_path: Path) -> None:
    results = tmp_path / "results"
    with served_here("--model", "demo", "--allowed-local-media-path", str(readable_folder())) as server:
        label(specified(world, results, transport="base64"), server)
        code, _, cost = label(specified(world, results), server)
    assert (code, cost["requests"]) == (0, 0)


def test_a_server_of_our_own_that_reads_no_files_is_sent_pictures_in_requests(world: World, tmp_path: Path) -> None:
    files, bodies = tmp_path / "files", tmp_path / "bodies"
    with served_here("--model", "demo") as server:
        code, said, _ = label(specified(world, files), server)
        statuses = server.stats()["statuses"]
        label(specified(world, bodies, transport="base64"), server)
    assert code == 0
    assert "not read" not in said
    assert 2 <= statuses["500"] <= 16, "those that were in flight until it was known"
    assert annotations_of(files) == annotations_of(bodies)
    assert "does not read their files" in (files / "logs" / "raylabel.log").read_text(encoding="utf-8")


@pytest.mark.parametrize("max_pixels", [0, 30_000], ids=["as-they-are", "resized"])
def test_a_server_of_the_users_reads_the_images_themselves_where_that_is_said(
    world: World, tmp_path: Path, max_pixels: int
) -> None:
    with served_here("--allowed-local-media-path", str(world.images_dir)) as server:
        settings = specified(world, tmp_path / "results", url=server.url, transport="file", max_pixels=max_pixels)
        assert label(settings)[0] == 0
        stats = server.stats()
    with served_here() as server:
        assert label(specified(world, tmp_path / "bodies", url=server.url, max_pixels=max_pixels))[0] == 0
        by_body = server.stats()["body_bytes"]
    assert set(stats["statuses"]) == {"200"}
    assert (stats["body_bytes"] < by_body / 2) == (max_pixels == 0), "what has to be prepared is in the request"
    assert annotations_of(tmp_path / "results") == annotations_of(tmp_path / "bodies")


def test_images_elsewhere_than_in_the_servers_folder_are_sent_in_requests(world: World, tmp_path: Path) -> None:
    lines = [json.loads(line) for line in world.captions_path.read_text(encoding="utf-8").splitlines()]
    moved = tmp_path / "elsewhere.png"
    moved.write_bytes((world.images_dir / lines[-1]["image_path"]).read_bytes())
    lines[-1]["image_path"] = str(moved)
    captions = tmp_path / "captions.jsonl"
    captions.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    with served_here("--allowed-local-media-path", str(world.images_dir)) as server:
        settings = specified(world, tmp_path / "results", url=server.url, transport="file")
        settings.image_grounding.data.input_jsonl = str(captions)
        assert label(settings)[0] == 0
        assert server.stats()["statuses"]["400"] == 2, "once for each of its steps"


def test_a_server_that_reads_no_files_though_that_is_said_ends_the_run_with_one_sentence(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "results"
    with served_here() as server:
        code, _, _ = label(specified(world, results, url=server.url, transport="file"))
    assert code == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert (
        "HTTP 500: Cannot load local files without `--allowed-local-media-path`; image.transport is file, and" in said
    )
    assert "let it read their folder (vLLM: --allowed-local-media-path), or write image.transport: auto" in said
    assert json.loads((results / "run.json").read_text(encoding="utf-8"))["exit_code"] == 2


def test_check_tells_of_a_server_that_reads_no_files(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with served_here() as server:
        specified(world, tmp_path / "results", url=server.url, transport="file")
        code = main(["check", str(tmp_path / "results.yaml")])
    assert code == 2
    assert "this server does not read the files of pictures" in " ".join(capsys.readouterr().out.split())


def test_backends_whose_servers_read_no_files_are_refused(world: World, tmp_path: Path) -> None:
    path = tmp_path / "gemini.yaml"
    specified(world, tmp_path / "gemini", url="http://127.0.0.1:9", transport="file")
    content = json.loads(path.read_text(encoding="utf-8"))
    content["image_grounding"]["vlm"] = {"backend": "gemini", "gemini": {"api_key": "none"}}
    path.write_text(json.dumps(content), encoding="utf-8")
    assert main(["run", str(path)]) == 2
