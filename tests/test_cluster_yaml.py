"""cluster.yaml is a file that Ray's cluster launcher accepts, in both of its variants; so far as it can be told here,
the files in configs/cluster are what KubeRay and Slurm take."""

from __future__ import annotations

import os
import re
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.node_provider_availability_tracker import NodeAvailabilitySummary
from ray.autoscaler._private.resource_demand_scheduler import _default_utilization_scorer, get_nodes_for
from ray.autoscaler._private.util import fillout_defaults, prepare_config, validate_config

ROOT = Path(__file__).parents[1]
CLUSTER_YAML = ROOT / "cluster.yaml"
KUBERAY, SLURM = ROOT / "configs" / "cluster" / "kuberay.yaml", ROOT / "configs" / "cluster" / "slurm.sh"


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
    most = sum(kind["max_workers"] for kind in prepared["available_node_types"].values())
    assert 2 <= prepared["max_workers"] <= most
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


def test_a_machine_with_a_gpu_is_added_for_each_replica_that_waits_and_goes_when_none_does() -> None:
    gpu = prepare_config(yaml.safe_load(aws()))["available_node_types"]["gpu_worker"]
    assert (gpu["min_workers"], gpu["max_workers"]) == (0, 4)
    scorer = partial(_default_utilization_scorer, node_availability_summary=NodeAvailabilitySummary({}))
    waiting = [{"CPU": 1.0, "GPU": 1.0}] * 6
    types = {"head": {"resources": {"CPU": 4}, "max_workers": 0, "node_config": {}}, "gpu_worker": gpu}
    for asked, nodes in ((waiting, 4), (waiting[:2], 2), ([], 0)):
        added, _ = get_nodes_for(types, {}, "head", 6, asked, scorer)
        assert added.get("gpu_worker", 0) == nodes


# --- Kubernetes -------------------------------------------------------------------------------------------------------

RAY_JOB = {
    "activeDeadlineSeconds",
    "backoffLimit",
    "rayClusterSpec",
    "submitterPodTemplate",
    "metadata",
    "clusterSelector",
    "submitterConfig",
    "managedBy",
    "deletionStrategy",
    "entrypoint",
    "runtimeEnvYAML",
    "jobId",
    "submissionMode",
    "entrypointResources",
    "entrypointNumCpus",
    "entrypointNumGpus",
    "ttlSecondsAfterFinished",
    "shutdownAfterJobFinishes",
    "suspend",
}
RAY_CLUSTER = {
    "headGroupSpec",
    "workerGroupSpecs",
    "rayVersion",
    "enableInTreeAutoscaling",
    "autoscalerOptions",
    "headServiceAnnotations",
    "suspend",
}
HEAD_GROUP = {"serviceType", "headService", "enableIngress", "rayStartParams", "template"}
WORKER_GROUP = {
    "groupName",
    "replicas",
    "minReplicas",
    "maxReplicas",
    "numOfHosts",
    "rayStartParams",
    "template",
    "scaleStrategy",
}
AUTOSCALER = {
    "resources",
    "image",
    "imagePullPolicy",
    "env",
    "envFrom",
    "volumeMounts",
    "securityContext",
    "idleTimeoutSeconds",
    "upscalingMode",
}
"""Fields of KubeRay's resources. Source: ray-operator/apis/ray/v1/rayjob_types.go and raycluster_types.go."""
CONTAINER = {"name", "image", "resources", "env", "envFrom", "volumeMounts"}
POD = {"containers", "volumes", "tolerations"}
"""Those fields of Kubernetes' that the file needs. Source: its API reference, core/v1."""


def test_the_manifest_has_the_fields_of_a_ray_job() -> None:
    job = yaml.safe_load(KUBERAY.read_text(encoding="utf-8"))
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    cluster = job["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    assert job["spec"].keys() <= RAY_JOB
    assert job["spec"]["submissionMode"] in ("K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode")
    assert cluster.keys() <= RAY_CLUSTER
    assert cluster["autoscalerOptions"].keys() <= AUTOSCALER
    assert cluster["autoscalerOptions"]["upscalingMode"] in ("Default", "Aggressive", "Conservative")
    assert groups[0].keys() <= HEAD_GROUP
    for group in groups[1:]:
        assert {"groupName", "minReplicas", "maxReplicas", "rayStartParams", "template"} <= group.keys() <= WORKER_GROUP
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    for group in groups:
        pod = group["template"]["spec"]
        assert pod.keys() <= POD
        volumes = {volume["name"] for volume in pod["volumes"]}
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        for container in pod["containers"]:
            assert container.keys() <= CONTAINER
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
            assert all(isinstance(entry["value"], str) for entry in container["env"])
    gpu = groups[-1]
    assert (gpu["minReplicas"], gpu["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"]) == (
        0,
        "1",
    )


def test_the_manifest_runs_a_command_that_exists() -> None:
    words = yaml.safe_load(KUBERAY.read_text(encoding="utf-8"))["spec"]["entrypoint"].split()
    assert words[:4] == ["python", "-m", "raylabel", "run"]
    assert "--exit-zero" in words


# --- Slurm ------------------------------------------------------------------------------------------------------------


def test_the_shell_can_read_the_script_for_slurm() -> None:
    read = subprocess.run(["bash", "-n", str(SLURM)], capture_output=True, text=True)
    assert (read.returncode, read.stderr) == (0, "")


def test_the_script_hands_the_configuration_to_a_run_on_all_machines(tmp_path: Path) -> None:
    """With stand-ins for Slurm's commands and Ray's, which say how they are called."""
    tools, venv = tmp_path / "tools", tmp_path / "venv" / "bin"
    for folder in (tools, venv):
        folder.mkdir(parents=True)
    (venv / "activate").write_text("")
    stand_ins = {
        "scontrol": "echo node-a; echo node-b",
        "srun": 'while [[ $1 == --* ]]; do shift; done; "$@"',
        "hostname": "echo 10.0.0.7 fe80::1",
        "ray": 'echo "$RAY_AUTH_MODE ${#RAY_AUTH_TOKEN} ray $*"; exit 7',
    }
    for name, said in stand_ins.items():
        (tools / name).write_text(f"#!/usr/bin/env bash\n{said}\n")
        (tools / name).chmod(0o755)
    env = {"PATH": f"{tools}:{os.environ['PATH']}", "HOME": str(tmp_path), "RAYLABEL_VENV": str(venv.parent)}
    slurm = {"SLURM_JOB_NUM_NODES": "2", "SLURM_JOB_NODELIST": "node-[a-b]"}
    words = ["bash", str(SLURM), "/shared/a b.yaml", "results_dir=/shared/r"]
    ran = subprocess.run(words, env={**env, **slurm}, capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (7, "")
    assert ran.stdout == (
        "token 64 ray symmetric-run --address 10.0.0.7:6379 --min-nodes 2 -- python -m raylabel run /shared/a b.yaml "
        "results_dir=/shared/r --exit-zero ray.address=auto\n"
    )
