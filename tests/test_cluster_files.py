"""What brings clusters up elsewhere: each file against the schema that can be had."""

import json
import os
import re
import subprocess
from pathlib import Path

import jsonschema
import pytest
import ray.autoscaler
import yaml

ROOT = Path(__file__).parent.parent
CLUSTER = ROOT / "cluster"
LOCK = (ROOT / "requirements.lock").read_text()


@pytest.mark.parametrize("name", ["onpremise.yaml", "aws.yaml"])
def test_rays_launcher_would_take_the_file(name):
    schema = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text())
    described = yaml.safe_load((CLUSTER / name).read_text())
    jsonschema.validate(described, schema)
    for role in ("head", "worker"):
        started = described[f"{role}_start_ray_commands"][-1]
        assert "RAY_AUTH_MODE=token" in started and "MEDIMG_JOBS=" in started
    assert "dashboard-host=127.0.0.1" in described["head_start_ray_commands"][-1]


def test_the_clouds_workers_are_spot_and_go_when_idle_and_its_head_takes_no_work():
    described = yaml.safe_load((CLUSTER / "aws.yaml").read_text())
    kinds = described["available_node_types"]
    assert kinds["head"]["resources"]["CPU"] == 0
    assert kinds["gpu"]["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert "InstanceMarketOptions" not in kinds["head"]["node_config"]
    assert kinds["gpu"]["min_workers"] == 0 and described["idle_timeout_minutes"] > 0
    assert described["provider"]["use_internal_ips"]


def ray_spec(document):
    """The RayClusterSpec in a RayCluster or RayJob."""
    spec = document["spec"]
    if document["kind"] != "RayCluster":
        assert spec["entrypoint"] and spec["shutdownAfterJobFinishes"]
        assert yaml.safe_load(spec["runtimeEnvYAML"])["env_vars"]["STUDY"].startswith("https://")
        spec = spec["rayClusterSpec"]
    return spec


@pytest.mark.parametrize("name", ["raycluster", "rayjob"])
def test_kuberays_files_hold_what_it_requires_and_ask_for_a_token(name):
    (document,) = yaml.safe_load_all((CLUSTER / f"kubernetes/{name}.yaml").read_text())
    assert document["apiVersion"] == "ray.io/v1"
    assert document["kind"].lower() == name
    assert {"name", "generateName"} & set(document["metadata"])
    spec = ray_spec(document)
    assert spec["authOptions"] == {"mode": "token"}
    assert f"ray=={spec['rayVersion']}\n" in LOCK
    groups = spec["workerGroupSpecs"]
    assert all(
        group["groupName"] and group["minReplicas"] <= group["replicas"] <= group["maxReplicas"] for group in groups
    )
    for group in (spec["headGroupSpec"], *groups):
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        pod = group["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"]
        (container,) = pod["containers"]
        assert container["resources"]["requests"] == container["resources"]["limits"]
        assert not container["securityContext"]["allowPrivilegeEscalation"]
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert set(mounts) == {volume["name"] for volume in pod["volumes"]}
        jobs = next(entry["value"] for entry in container["env"] if entry["name"] == "MEDIMG_JOBS")
        assert jobs.startswith(mounts["shared"])
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"


def test_the_cluster_of_a_night_asks_for_a_token():
    text = re.sub(r"{{.*?}}", "1", (CLUSTER / "schedule/kuberay").read_text())
    spec = yaml.safe_load(text)["spec"]["jobTemplate"]["rayClusterSpec"]
    assert spec["authOptions"] == {"mode": "token"}
    assert f"ray=={spec['rayVersion']}\n" in LOCK


def test_the_image_is_pinned_not_root_and_copies_what_there_is():
    lines = (CLUSTER / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    (base,) = [line.split()[1] for line in lines if line.startswith("FROM")]
    assert re.fullmatch(r"python:3\.11\.\d+-slim-\w+", base)
    assert [line for line in lines if line.startswith("USER")] == ["USER 1000"]
    copied = [word for line in lines if line.startswith("COPY") for word in line.split()[1:-1]]
    assert all((ROOT / word).exists() for word in copied)
    assert "requirements.lock" in copied


def test_start_refuses_a_node_without_a_token_or_certificates(tmp_path):
    def start(*words, **environment):
        environment = os.environ | {"RAY_AUTH_TOKEN_PATH": str(tmp_path / "none")} | environment
        return subprocess.run(
            [CLUSTER / "start.sh", *words], env=environment, capture_output=True, text=True, check=False
        )

    refused = start("node", "127.0.0.1:1")
    assert refused.returncode == 2 and "There is no token" in refused.stderr
    refused = start("head", MEDIMG_TLS=str(tmp_path))
    assert refused.returncode == 2 and "certificates.sh" in refused.stderr
    assert "MEDIMG_JOBS" in start().stdout


def test_certificates_are_signed_by_one_authority_and_their_owners_alone(tmp_path):
    folder = tmp_path / "certificates"
    subprocess.run([CLUSTER / "certificates.sh", folder, "127.0.0.2", "127.0.0.3"], check=True, capture_output=True)
    for address in ("127.0.0.2", "127.0.0.3"):
        node = folder / address
        checked = ["openssl", "verify", "-CAfile", folder / "ca.crt", "-verify_ip", address, node / "node.crt"]
        subprocess.run(checked, check=True, capture_output=True)
        assert (node / "node.key").stat().st_mode & 0o077 == 0
        assert not (node / "ca.key").exists()
