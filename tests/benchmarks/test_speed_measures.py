"""What the speed benchmark makes of a server's log and of what processes used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from speed.cases import CASES, chosen
from speed.measures import (
    Figures,
    Request,
    ServerLog,
    Spread,
    figures,
    mean_in_flight,
    memory_by_kind,
    most_in_flight,
    ratios,
    repeated,
    window_fill,
)
from speed.processes import Finished, Sample, kind_of, parse_stat, run_watched
from speed.table import Sheet


def finished(samples: list[Sample], **more: object) -> Finished:
    fields = {"began_s": 0.0, "ended_s": 20.0, "exit_code": 0, "cpu_s": {"driver": 4.0}, "left": 0}
    return Finished(**{**fields, "samples": samples, "machine_cpu_s": 4.0, **more})  # type: ignore[arg-type]


def test_the_tail_after_the_last_request_does_not_count_as_an_empty_window():
    # Two at a time from 0 to 10; the last one comes at 10 and takes for ever.
    requests = [Request(0, start, start + 5) for start in (0.0, 0.0, 5.0, 5.0)] + [Request(0, 10.0, 99.0)]
    assert mean_in_flight(requests) == pytest.approx(2.0)
    assert window_fill(requests, allowed=4) == [pytest.approx(0.5)]
    assert most_in_flight(requests) == 2


def test_each_step_has_a_window_of_its_own():
    first = [Request(0, float(n), n + 1.0) for n in range(11)]
    second = [Request(1, n + 1.0, n + 1.5) for n in range(11)]
    assert window_fill([*second, *first], allowed=1) == [pytest.approx(1.0), pytest.approx(0.5)]
    assert mean_in_flight([*first, *second]) > 1.2


def test_a_log_with_one_request_is_full_at_once():
    assert mean_in_flight([Request(0, 3.0, 4.0)]) == 1.0


def test_requests_are_repeated_where_their_bodies_are():
    assert repeated([Request(0, 0, 1, body) for body in (7, 8, 7, 7)]) == 2


def test_the_servers_columns_become_requests_by_arrival():
    columns = {"tasks": [1, 0], "arrived_ns": [2_000_000_000, 1_000_000_000], "left_ns": [3_000_000_000] * 2}
    log = ServerLog.from_json({**columns, "bodies": [5, 6], "cpu_s": 0.5})
    assert list(log.requests) == [Request(0, 1.0, 3.0, 6), Request(1, 2.0, 3.0, 5)]


def test_a_run_is_split_at_its_first_request_and_its_last_reply():
    log = ServerLog([Request(0, 5.0 + n / 100, 6.0 + n / 100, n) for n in range(1000)], cpu_s=0.4)
    # 1 CPU-second before the requests, then 0.2 a second.
    samples = [Sample(0.5, {"driver": 0.0}), Sample(5.0, {"driver": 1.0}), Sample(20.0, {"driver": 3.0, "ray": 1.0})]
    run = figures("raylabel", finished(samples, machine_cpu_s=14.4), log, allowed=100, labeled=500)
    assert [run.start_s, run.steady_s, run.end_s] == pytest.approx([5.0, 10.99, 4.01])
    assert run.cpu_ms == pytest.approx(4.0)
    assert run.steady_cpu_ms == pytest.approx(2.0)
    assert run.server_cpu_ms == pytest.approx(0.4)
    assert run.most_in_flight in (100, 101)  # floats: one may leave a hair after the next arrives
    assert list(run.fill) == pytest.approx([0.95], abs=0.01)
    assert run.requests_per_s == pytest.approx(91, abs=1)
    assert run.others > 0


def test_a_run_without_requests_has_no_parts():
    run = figures("raylabel, again", finished([]), ServerLog([], 0.0), allowed=4, labeled=3)
    assert (run.wall_s, run.labeled, run.requests, run.start_s, run.requests_per_s) == (20.0, 3, 0, None, None)


def test_memory_is_told_at_the_beginning_at_most_and_at_the_end():
    samples = [Sample(float(n), {}, {"workers": 100.0 + n} if n != 5 else {"workers": 900.0}) for n in range(11)]
    samples.insert(3, Sample(2.5, {}))
    held = memory_by_kind(finished(samples), 0.0, 10.0)["workers"]
    assert (held.first_mb, held.most_mb, held.last_mb) == (100.5, 900.0, 109.5)


def test_ratios_are_taken_round_by_round():
    mine = [Figures("raylabel", wall, 0, 1) for wall in (10.0, 30.0, 12.0)]
    theirs = [Figures("ideal", wall, 0, 1) for wall in (5.0, 10.0, 12.0)]
    assert ratios(mine, theirs, lambda f: f.wall_s) == Spread(1.0, 2.0, 3.0)
    assert ratios(mine, theirs, lambda f: f.steady_s) is None


def test_a_process_is_read_whatever_its_name_holds():
    stat = parse_stat("4711 (ray::IDLE (x) ) S 17 1 1 0 -1 0 0 0 0 0 250 150 0 0 20 0 9 0 99 0 0")
    assert (stat.pid, stat.parent, stat.started_ticks) == (4711, 17, 99)
    assert stat.cpu_s == pytest.approx(4.0, rel=0.5)  # by the machine's clock ticks


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        pytest.param("ray::MapWorker(LevelActor)", "workers", id="actor"),
        pytest.param("ray::MapBatches(read)->Filter()", "workers", id="task"),
        pytest.param("ray::Coordinator.report", "coordinator", id="coordinator"),
        pytest.param("ray::IDLE", "ray", id="idle"),
        pytest.param("ray::_StatsActor", "ray", id="own-actor"),
        pytest.param("/x/ray/core/src/ray/raylet/raylet --raylet_socket_name=y", "ray", id="raylet"),
        pytest.param("", "ray", id="gone"),
    ],
)
def test_processes_are_told_apart_by_their_titles(command, kind):
    assert kind_of(command) == kind


def test_a_command_is_watched_with_its_children(tmp_path: Path):
    busy = "import time; end = time.process_time() + 0.5\nwhile time.process_time() < end: pass"
    program = f"import subprocess, sys; {busy!r}; subprocess.run([sys.executable, '-c', {busy!r}]); print('done')"
    done = run_watched([sys.executable, "-c", program], tmp_path, tmp_path / "said.txt")
    assert (done.exit_code, (tmp_path / "said.txt").read_text(), done.left) == (0, "done\n", 0)
    assert sum(done.cpu_s.values()) >= 0.5
    assert done.cpu_at(done.began_s) == 0
    assert any(sample.memory_mb and sample.memory_mb["driver"] > 1 for sample in done.samples)


def test_who_outlives_the_command_is_ended(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("speed.processes._LEAVE_S", 0.1)
    sleeper = "import time; time.sleep(600)"
    program = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {sleeper!r}]); time.sleep(1)"
    done = run_watched([sys.executable, "-c", program], tmp_path, tmp_path / "said.txt")
    assert (done.exit_code, done.left) == (0, 1)


def test_cases_are_chosen_by_name_or_its_beginning():
    assert [case.name for case in chosen(["scale"], quick=False)] == ["scale-1", "scale-2"]
    assert chosen([], quick=False) == list(CASES)
    assert 0 < len(chosen([], quick=True)) < len(CASES)
    with pytest.raises(ValueError, match="no case 'sacle'"):
        chosen(["sacle"], quick=False)


def test_a_sheet_is_a_markdown_table():
    sheet = Sheet("How fast", ["case", "client", "wall s"], [["a", "ideal", "1.0"]])
    assert sheet.as_markdown().splitlines()[2:] == [
        "| case | client | wall s |",
        "| --- | --- | ---: |",
        "| a | ideal | 1.0 |",
    ]


def test_the_command_says_what_it_does():
    root = Path(__file__).parents[2]
    text = (root / "scripts/bench").read_text(encoding="utf-8")
    assert "-m speed" in text
    done = subprocess.run(
        [sys.executable, "-m", "speed", "--case", "nothing-like-it"],
        env={"PYTHONPATH": f"{root / 'scripts/benchmarks'}:{root}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "there are 500-32, " in done.stderr
