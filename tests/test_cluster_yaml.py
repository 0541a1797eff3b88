"""cluster.yaml is a file that Ray's cluster launcher accepts, in both of its variants."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import fillout_defaults, prepare_config, validate_config

CLUSTER_YAML = Path(__file__).parents[1] / "cluster.yaml"


def own_machines() -> str:
    return CLUSTER_YAML.read_text(encoding="utf-8")


def aws() -> str:
    """The file after what its comment says: `provider` and `auth` deleted, the lines behind ``#|`` uncommented."""
    without_local = re.sub(r"^(provider|auth):\n(  .*\n)+", "", own_machines(), flags=re.MULTILINE)
    return re.sub(r"^#\| ", "", without_local, flags=re.MULTILINE)


@pytest.fixture(params=[own_machines, aws])
def config(request: pytest.FixtureRequest) -> dict[str, Any]:
    loaded = yaml.safe_load(request.param())
    assert isinstance(loaded, dict)
    return loaded


def test_the_launcher_accepts_the_file(config: dict[str, Any]) -> None:
    prepared = prepare_config(config)
    validate_config(prepared)
    assert prepared["max_workers"] == 2
    assert prepared["head_node_type"] in prepared["available_node_types"]


def test_the_schema_check_is_a_real_one(config: dict[str, Any]) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    config["worker_start_commands"] = config.pop("worker_start_ray_commands")
    with pytest.raises(jsonschema.ValidationError, match="worker_start_commands"):
        validate_config(fillout_defaults(config))


def test_every_node_is_told_the_same_authentication_mode(config: dict[str, Any]) -> None:
    starts = [
        command
        for key in ("head_start_ray_commands", "worker_start_ray_commands")
        for command in config[key]
        if "ray start" in command
    ]
    modes = {re.search(r"RAY_AUTH_MODE=(\w+) (?:\w+=\w+ )*ray start", command) for command in starts}
    assert len(starts) == 2
    assert {mode and mode.group(1) for mode in modes} == {"token"}
    assert "~/.ray/auth_token" in config["file_mounts"]


def test_the_nodes_install_this_checkout_with_what_a_cluster_needs(config: dict[str, Any]) -> None:
    assert config["file_mounts"]["~/raylabel"] == "."
    assert any("raylabel[cluster]" in command for command in config["setup_commands"])


def test_the_workers_of_own_machines_are_started_by_the_autoscaler_that_can(config: dict[str, Any]) -> None:
    """The newer one, Ray's default for `ray up`, adds "1 node(s) of type local.cluster.node" for ever."""
    assert any(
        "RAY_enable_autoscaler_v2=0 ray start --head" in command for command in config["head_start_ray_commands"]
    )
