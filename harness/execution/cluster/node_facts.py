"""Facts about a node, and the comparison of its versions with those of the controller."""

import hashlib
import json
import os
import socket
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import psutil

from harness.core.environment import read_environment
from harness.core.errors import HarnessError
from harness.core.processors import available_processors
from harness.execution import interpreter
from harness.execution.cluster.messages import NodeFacts

PROBE_MODULE = "harness.training.hardware.device_probe"
PROBE_TIMEOUT_S = 180.0  # for a node that imports torch from a slow disk
PACKAGE = "segmentation-harness"
SOURCE = "harness source"  # name in `NodeFacts.versions`: hash of the package's files
# Distributions of which other versions give other numbers.
COMPARED_PACKAGES = (
    PACKAGE,
    SOURCE,
    "torch",
    "segmentation-models-pytorch",
    "timm",
    "albumentations",
    "numpy",
)


class NodeFactsError(HarnessError):
    """A node cannot describe its device."""


def collect_node_facts(
    device: str = "auto", environment: Mapping[str, str] | None = None
) -> NodeFacts:
    """Describe this machine; a child process asks torch, so that no CUDA context stays here.

    Args:
        device: as `--device`.
        environment: variables that the worker of this node will have.

    Raises:
        NodeFactsError: torch cannot be imported, or the device cannot be used.
    """
    probe = _probe_device(device, environment or {})
    has_bf16, is_cuda = bool(probe["has_bf16"]), str(probe["device"]).startswith("cuda")
    return NodeFacts(
        host=socket.gethostname(),
        versions=own_versions(),
        devices=(str(probe["description"]),),
        precision="bf16" if has_bf16 else "fp16" if is_cuda else "fp32",
        memory=psutil.virtual_memory().total,
        cpus=available_processors(),
        pid=os.getpid(),
    )


@cache
def own_versions() -> dict[str, str]:
    """Versions of this process by distribution name, and the hash of the package's files."""
    package = Path(__file__).parents[2]
    # The workspace is of no interest here, as versions alone are compared.
    return dict(read_environment(package).versions) | {SOURCE: _source_hash(package)}


def version_differences(node_versions: Mapping[str, str], own: Mapping[str, str]) -> list[str]:
    """Describe each compared version that differs: `torch 2.9.0 instead of 2.15.0`.

    The local part of a version (`2.15.0+cu130`) names a build for some device: it is not compared,
    as a controller without a GPU may have another build than its nodes. Nor is the version of this
    package where its source is the same: a node that was sent the package has installed another
    version, or none.
    """
    has_own_source = SOURCE in own and node_versions.get(SOURCE) == own[SOURCE]
    return [
        f"{name} {node_versions.get(name, 'absent')} instead of {own.get(name, 'absent')}"
        for name in COMPARED_PACKAGES
        if _public_part(node_versions.get(name)) != _public_part(own.get(name))
        and not (name == PACKAGE and has_own_source)
    ]


def _public_part(version: str | None) -> str | None:
    return None if version is None else version.partition("+")[0]


def _source_hash(package: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]


def _probe_device(device: str, environment: Mapping[str, str]) -> dict[str, object]:
    host = socket.gethostname()
    try:
        process = subprocess.run(
            interpreter.module_command(PROBE_MODULE, device),
            env=interpreter.child_environment() | dict(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PROBE_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise NodeFactsError(
            f"node {host}: its device did not answer within {PROBE_TIMEOUT_S:.0f} s"
        ) from None
    if process.returncode:
        last_line = (process.stderr.strip().splitlines() or [f"code {process.returncode}"])[-1]
        raise NodeFactsError(f"node {host}: its device is not usable ({last_line[:300]})")
    facts: dict[str, object] = json.loads(process.stdout.splitlines()[-1])
    return facts
