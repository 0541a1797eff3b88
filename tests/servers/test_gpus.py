"""How the servers of one machine share its GPUs."""

from __future__ import annotations

from pathlib import Path

import pytest

from raylabel.errors import StartError
from raylabel.servers import background
from raylabel.servers.background import ServersInBackground
from raylabel.servers.gpus import gpus_for_replicas, visible_gpus
from raylabel.settings import ServeSettings


@pytest.mark.parametrize(
    ("value", "gpus"),
    [
        pytest.param("0,1", ("0", "1"), id="numbers"),
        pytest.param("GPU-a, MIG-b", ("GPU-a", "MIG-b"), id="names"),
        pytest.param("", (), id="none"),
        pytest.param("-1", (), id="hidden"),
    ],
)
def test_what_this_process_may_use_is_shared(value: str, gpus: tuple[str, ...]) -> None:
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": value}) == gpus


@pytest.mark.parametrize(
    ("settings", "gpus", "shares"),
    [
        pytest.param({}, 4, [("0",), ("1",), ("2",), ("3",)], id="one-each"),
        pytest.param({"gpus_per_replica": 2}, 5, [("0", "1"), ("2", "3")], id="two-each-one-left-over"),
        pytest.param({"replicas": 1}, 4, [("0",)], id="fewer-than-there-are"),
        pytest.param({}, 0, [()], id="no-gpus"),
        pytest.param({"replicas": 3}, 0, [(), (), ()], id="several-without"),
        pytest.param({"engine": "command"}, 4, [()], id="a-command-takes-what-it-likes"),
    ],
)
def test_gpus_are_given_out(settings: dict[str, object], gpus: int, shares: list[tuple[str, ...]]) -> None:
    serve = ServeSettings.model_validate({"model": "m", **settings})
    assert gpus_for_replicas(serve, [str(number) for number in range(gpus)]) == shares


@pytest.mark.parametrize("settings", [{"replicas": 3, "gpus_per_replica": 2}, {"gpus_per_replica": 8}])
def test_too_few_gpus_are_told(settings: dict[str, int]) -> None:
    with pytest.raises(StartError, match=r"serve\.gpus_per_replica: \d x \d GPUs are needed, but this machine has 4"):
        gpus_for_replicas(ServeSettings.model_validate({"model": "m", **settings}), ["0", "1", "2", "3"])


@pytest.mark.parametrize(
    ("settings", "seen"),
    [
        pytest.param({}, [("0",), ("1",)], id="each-sees-its-own"),
        pytest.param({"engine": "command"}, [None], id="a-command-sees-all"),
        pytest.param({"engine": "command", "gpus_per_replica": 0}, [()], id="none-if-none-are-wanted"),
    ],
)
def test_a_server_sees_its_share(
    settings: dict[str, object], seen: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "visible_gpus", lambda: ("0", "1"))
    servers = ServersInBackground(ServeSettings.model_validate({"model": "m", **settings}), str(tmp_path))
    assert [replica._gpus for replica in servers._made()] == seen
