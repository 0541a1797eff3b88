"""What somebody wrote into a result file by hand is never written over without a word."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from raylabel.demo.world import World, build_world
from raylabel.errors import ConfigError
from raylabel.runtime.edited_files import AnnotationFiles
from raylabel.store.results import Results
from tests.end_to_end.running import JournaledServer, WireServer, grounding, journaled_server, label, read_lines

TOP = "annotations.jsonl"
EXTRACTED = "step_0_expression_extraction/annotations.jsonl"
GROUNDED = "step_1_grounding/annotations.jsonl"
STEPS = "image_grounding.workflow.steps"
FORCED = "image_grounding.workflow.force_reprocess=true"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_world(tmp_path_factory.mktemp("world"), 12, seed=5)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JournaledServer]:
    with journaled_server(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(scope="module")
def labeled(world: World, server: JournaledServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of a whole run."""
    folder = tmp_path_factory.mktemp("labeled") / "r"
    label(grounding(world, folder, server.url))
    return folder


@pytest.fixture
def results(labeled: Path, server: JournaledServer, tmp_path: Path) -> Path:
    """A copy of them."""
    server.entries()
    return Path(shutil.copytree(labeled, tmp_path / "r"))


def lines_of(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def changed(line: bytes) -> bytes:
    return json.dumps({**json.loads(line), "cleaned_caption": "a caption of my own"}).encode() + b"\n"


def change_two(lines: list[bytes]) -> list[bytes]:
    return [changed(line) if number in (1, 4) else line for number, line in enumerate(lines)]


@pytest.mark.parametrize(
    ("edit", "named"),
    [
        pytest.param(change_two, "(lines 2, 5)", id="changed"),
        pytest.param(lambda lines: [changed(line) for line in lines], "and {more} more)", id="all"),
        pytest.param(lambda lines: lines[:2] + lines[4:], "(2 lines are missing)", id="removed"),
        pytest.param(lambda lines: [changed(lines[0]), *lines], "(line 1)", id="added"),
        pytest.param(lambda lines: lines[::-1], "(its lines stand in another order)", id="moved"),
        pytest.param(lambda lines: [b"# mine\n", *lines[1:]], "(line 1)", id="no-json"),
    ],
)
@pytest.mark.parametrize("name", [TOP, EXTRACTED, GROUNDED])
def test_an_edited_file_is_refused_with_its_lines(
    world: World,
    server: JournaledServer,
    results: Path,
    name: str,
    edit: Callable[[list[bytes]], list[bytes]],
    named: str,
) -> None:
    path = results / name
    written = lines_of(path)
    path.write_bytes(b"".join(edit(written)))
    edited = path.read_bytes()
    for overrides in ((), (FORCED,)):
        with pytest.raises(ConfigError) as refused:
            label(grounding(world, results, server.url, *overrides))
        assert f"{path} was edited since raylabel wrote it" in str(refused.value)
        assert named.format(more=len(written) - 5) in str(refused.value)
        advice = f"{STEPS}=[1]" if name == EXTRACTED else "Move it"
        assert advice in str(refused.value)
        assert path.read_bytes() == edited
        assert server.asked() == {}

    replaced = label(grounding(world, results, server.url), replace=True)
    assert "kept as annotations.edited.jsonl" in replaced.printed
    assert lines_of(path) == written
    assert path.with_name("annotations.edited.jsonl").read_bytes() == edited
    assert "was edited" not in label(grounding(world, results, server.url)).printed


def test_the_later_step_takes_the_edit_and_a_run_of_both_still_refuses(
    world: World, server: JournaledServer, results: Path
) -> None:
    path = results / EXTRACTED
    lines = [json.loads(line) for line in lines_of(path)]
    for e in lines[0]["expressions"]:
        e["text"] = "anything at all"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    edited = path.read_bytes()
    label(grounding(world, results, server.url, f"{STEPS}=[1]"))
    first = read_lines(results / TOP)[0]
    assert {e["text"] for e in first["expressions"]} == {"anything at all"}
    assert path.read_bytes() == edited
    with pytest.raises(ConfigError, match="was edited"):
        label(grounding(world, results, server.url))


def spaced(data: bytes) -> bytes:
    return b"".join(
        json.dumps(json.loads(line), indent=None, separators=(" , ", " : ")).encode() + b"\n"
        for line in data.splitlines()
    )


@pytest.mark.parametrize(
    "save",
    [
        pytest.param(lambda data: data.replace(b"\n", b"\r\n"), id="line-ends"),
        pytest.param(lambda data: data.rstrip(b"\n"), id="no-last-line-end"),
        pytest.param(lambda data: b"\xef\xbb\xbf" + data + b"\n \n", id="byte-order-mark-and-blank-lines"),
        pytest.param(spaced, id="spaces-and-escapes"),
        pytest.param(lambda data: data, id="copied"),
    ],
)
@pytest.mark.parametrize("name", [TOP, EXTRACTED])
def test_what_says_the_same_is_no_edit(
    world: World, server: JournaledServer, results: Path, name: str, save: Callable[[bytes], bytes]
) -> None:
    path = results / name
    before = path.read_bytes()
    path.write_bytes(save(before))
    os.utime(path, (1, 1))
    ran = label(grounding(world, results, server.url))
    assert path.read_bytes() == before
    assert "was edited" not in ran.printed
    assert not list(path.parent.glob("*.edited*"))


@pytest.mark.parametrize("how", ["deleted", "emptied"])
@pytest.mark.parametrize("name", [TOP, EXTRACTED])
def test_a_file_that_is_gone_is_written_again(
    world: World, server: JournaledServer, results: Path, name: str, how: str
) -> None:
    before = (results / name).read_bytes()
    (results / name).unlink()
    if how == "emptied":
        (results / name).touch()
    label(grounding(world, results, server.url))
    assert (results / name).read_bytes() == before


def test_a_folder_that_was_moved_and_copied_is_no_edit(world: World, server: JournaledServer, results: Path) -> None:
    shutil.copytree(results, moved := results.with_name("moved"), copy_function=shutil.copyfile)
    ran = label(grounding(world, moved, server.url))
    assert "was edited" not in ran.printed
    (moved / TOP).write_bytes(b"".join(change_two(lines_of(moved / TOP))))
    with pytest.raises(ConfigError, match=r"lines 2, 5\)"):
        label(grounding(world, moved, server.url))


def test_an_older_raylabels_file_is_refused_where_it_knew_it_and_kept_where_it_did_not(
    world: World, server: JournaledServer, results: Path
) -> None:
    shutil.rmtree(results / "checkpoints" / "written")
    noted = results / "checkpoints" / "written.json"
    marks = json.loads(noted.read_text())
    names = {"": TOP, "step_0_expression_extraction": EXTRACTED, "step_1_grounding": GROUNDED}
    noted.write_text(json.dumps({str(results / names[directory]): mark for directory, mark in marks.items()}))
    assert "was edited" not in label(grounding(world, results, server.url)).printed

    edited = b"".join(change_two(lines_of(results / EXTRACTED)))
    (results / EXTRACTED).write_bytes(edited)
    with pytest.raises(ConfigError, match="its lines are not known, as an older raylabel wrote it"):
        label(grounding(world, results, server.url))

    noted.unlink()
    ran = label(grounding(world, results, server.url))
    assert f"{results / EXTRACTED} is not known to be raylabel's" in ran.printed
    assert (results / EXTRACTED).with_name("annotations.edited.jsonl").read_bytes() == edited


def test_what_is_edited_while_the_run_goes_on_is_kept(world: World, tmp_path: Path) -> None:
    path = tmp_path / "r" / EXTRACTED

    def misbehave(seen):
        if seen.number == 20:
            path.write_bytes(b"".join(change_two(lines_of(path))))

    with WireServer() as wire:
        label(grounding(world, tmp_path / "r", wire.url), limit=6)
        wire.misbehave = misbehave
        wire.seen.clear()
        ran = label(grounding(world, tmp_path / "r", wire.url, FORCED))
    assert f"{path} was edited while this run went on" in ran.printed
    kept = read_lines(path.with_name("annotations.edited.jsonl"))
    assert [line["cleaned_caption"] for line in kept].count("a caption of my own") == 2


@pytest.mark.parametrize("after", ["announced", "published", "confirmed"])
def test_a_run_that_is_killed_as_it_publishes_leaves_no_edit(
    world: World, server: JournaledServer, results: Path, after: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    announce, write_json = AnnotationFiles.announce, Results.write_json

    class Killed(BaseException):
        pass

    def dies(*_: object) -> None:
        raise Killed

    def announced(*arguments):
        announce(*arguments)
        dies()

    def until_noted(self, folder, name, value):
        if name == "written.json":
            dies()
        write_json(self, folder, name, value)

    for _ in range(2):  # twice: what the first left is what the second finds
        with monkeypatch.context() as patch:
            if after == "announced":
                patch.setattr(AnnotationFiles, "announce", announced)
            elif after == "published":
                patch.setattr(AnnotationFiles, "confirm", dies)
            else:
                patch.setattr(Results, "write_json", until_noted)
            with pytest.raises(Killed):
                label(grounding(world, results, server.url, FORCED), limit=5)
    ran = label(grounding(world, results, server.url))
    assert "was edited" not in ran.printed
