"""Files of docs/cluster: the manifest for Kubernetes and the image."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.cli.app import build_app

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "cluster"


def closed(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


TEXT, COUNT = {"type": "string"}, {"type": "integer", "minimum": 0}
TEXTS = {"type": "object", "additionalProperties": TEXT}  # "0", not 0: Ray takes no numbers
CONTAINER = closed(
    {
        "name": TEXT,
        "image": TEXT,
        "securityContext": closed(
            {
                "allowPrivilegeEscalation": {"const": False},
                "capabilities": closed({"drop": {"const": ["ALL"]}}, "drop"),
            },
            "allowPrivilegeEscalation",
            "capabilities",
        ),
        "resources": closed({"requests": TEXTS, "limits": TEXTS}, "requests", "limits"),
        "volumeMounts": {
            "type": "array",
            "items": closed({"name": TEXT, "mountPath": TEXT}, "name", "mountPath"),
        },
    },
    *("name", "image", "securityContext", "resources"),
)
POD = closed(
    {
        "terminationGracePeriodSeconds": COUNT,
        "securityContext": closed(
            {
                "runAsNonRoot": {"const": True},
                "runAsUser": {"type": "integer", "minimum": 1},
                "runAsGroup": {"type": "integer", "minimum": 1},
                "fsGroup": {"type": "integer", "minimum": 1},
                "seccompProfile": closed({"type": {"const": "RuntimeDefault"}}, "type"),
            },
            *("runAsNonRoot", "runAsUser", "seccompProfile"),
        ),
        "containers": {"type": "array", "minItems": 1, "items": CONTAINER},
        "volumes": {
            "type": "array",
            "items": closed(
                {
                    "name": TEXT,
                    "emptyDir": closed({"medium": {"const": "Memory"}, "sizeLimit": TEXT}),
                    "persistentVolumeClaim": closed({"claimName": TEXT}, "claimName"),
                },
                "name",
            ),
        },
    },
    *("securityContext", "containers"),
)
TEMPLATE = closed({"spec": POD}, "spec")
# The part of `rayjobs.ray.io` (KubeRay 1.6) that the manifest uses; a name beyond it is refused.
RAY_JOB = closed(
    {
        "apiVersion": {"const": "ray.io/v1"},
        "kind": {"const": "RayJob"},
        "metadata": closed(
            {"name": {"type": "string", "pattern": "^[a-z][a-z0-9-]{0,40}$"}}, "name"
        ),
        "spec": closed(
            {
                "entrypoint": TEXT,
                "shutdownAfterJobFinishes": {"type": "boolean"},
                "backoffLimit": COUNT,
                "rayClusterSpec": closed(
                    {
                        "authOptions": closed({"mode": {"const": "token"}}, "mode"),
                        "headGroupSpec": closed(
                            {"rayStartParams": TEXTS, "template": TEMPLATE}, "template"
                        ),
                        "workerGroupSpecs": {
                            "type": "array",
                            "minItems": 1,
                            "items": closed(
                                {
                                    "groupName": TEXT,
                                    "replicas": COUNT,
                                    "minReplicas": COUNT,
                                    "maxReplicas": COUNT,
                                    "rayStartParams": TEXTS,
                                    "template": TEMPLATE,
                                },
                                *("groupName", "rayStartParams", "template"),
                            ),
                        },
                    },
                    *("authOptions", "headGroupSpec", "workerGroupSpecs"),
                ),
            },
            *("entrypoint", "rayClusterSpec"),
        ),
    },
    *("apiVersion", "kind", "metadata", "spec"),
)


@pytest.fixture(scope="module")
def manifest() -> Any:
    return yaml.safe_load((FOLDER / "rayjob.yaml").read_text("utf-8"))


def pods(manifest: Any) -> list[Any]:
    cluster = manifest["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return [group["template"]["spec"] for group in groups]


def test_manifest_fits_the_schema(manifest: Any) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft202012Validator.check_schema(RAY_JOB)
    jsonschema.validate(manifest, RAY_JOB)
    manifest = manifest | {"spec": manifest["spec"] | {"entryPoint": "x"}}
    with pytest.raises(jsonschema.ValidationError, match="'entryPoint' was unexpected"):
        jsonschema.validate(manifest, RAY_JOB)


def test_every_mounted_volume_exists(manifest: Any) -> None:
    for pod in pods(manifest):
        names = {volume["name"] for volume in pod["volumes"]}
        for container in pod["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} == names


def test_only_the_head_has_the_workspace(manifest: Any) -> None:
    head, *workers = pods(manifest)
    assert "persistentVolumeClaim" in str(head)
    assert "persistentVolumeClaim" not in str(workers)


def test_its_command_has_options_that_exist(manifest: Any) -> None:
    import typer

    words = shlex.split(manifest["spec"]["entrypoint"])
    assert words[:2] == ["harness", "run"]
    command: Any = typer.main.get_command(build_app("run")).commands["run"]  # type: ignore[attr-defined]
    names = {name for option in command.params for name in option.opts}
    assert {word for word in words if word.startswith("--")} <= names


def test_a_trial_fits_on_a_worker_exactly_once(manifest: Any) -> None:
    words = shlex.split(manifest["spec"]["entrypoint"])
    limits = pods(manifest)[1]["containers"][0]["resources"]["limits"]
    assert limits["cpu"] == words[words.index("--cpus-per-trial") + 1]
    assert limits["nvidia.com/gpu"] == words[words.index("--gpus-per-trial") + 1]


def test_image_has_two_stages_and_no_root() -> None:
    lines = (FOLDER / "Dockerfile").read_text("utf-8").splitlines()
    stages = [line for line in lines if line.startswith("FROM ")]
    assert len(stages) == 2 and "runtime" in stages[1]
    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert users[-1] == "1000:1000"
    sources = [word for line in lines if line.startswith("COPY ") for word in line.split()[1:-1]]
    local = [word for word in sources if not word.startswith(("--", "/"))]
    assert local and not [word for word in local if not (FOLDER.parents[1] / word).exists()]
    assert not re.search(r"(?i)token|password|secret", "\n".join(lines))
