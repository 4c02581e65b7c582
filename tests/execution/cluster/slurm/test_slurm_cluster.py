"""Options of `--cluster slurm`, and a submission that is refused."""

from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import UserError
from harness.execution.cluster.cluster_settings import ClusterSettings
from harness.execution.cluster.slurm.slurm_cluster import SlurmCluster, open_slurm_executor
from harness.search.definition.cluster_access import open_cluster
from harness.search.definition.options import ComputeOptions
from harness.training.hardware.device_facts import describe_precision
from tests.execution.cluster.plain import STUDY_ID


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the only one on PATH, with an sbatch that refuses all."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    (folder / "sbatch").write_text("#!/bin/sh\necho invalid account >&2; exit 1\n")
    (folder / "sbatch").chmod(0o755)
    return folder


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"workers": None}, "--workers max: a queue of Slurm has no end"),
        ({"gpus_per_trial": 0.5}, r"--gpus-per-trial 0\.5: Slurm gives whole GPUs"),
        ({"scratch": "/x"}, "--scratch: Slurm's nodes share the disk"),
        ({"trusted_network": True}, "--trusted-network: Slurm's nodes share"),
        ({"ship_code": True}, "--ship-code: Slurm's nodes share"),
        ({"gpus_per_trial": 0, "sbatch": "--gpus=1"}, "--gpus-per-trial 0: --sbatch requests GPUs"),
        ({"sbatch": "--array=0-9"}, "--array is set by this command"),
    ],
)
def test_options_without_a_meaning_for_slurm_are_refused(
    commands: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        SlurmCluster(ClusterSettings("slurm", **changes))


@pytest.mark.parametrize(
    ("gpus", "sbatch", "device"),
    [
        (None, "", "cpu"),
        (None, "--gres=gpu:a100:1", "cuda"),
        (1, "", "cuda"),
        (0, "", "cpu"),
    ],
)
def test_the_device_is_that_of_the_requested_jobs(
    commands: Path, gpus: float | None, sbatch: str, device: str
) -> None:
    cluster = SlurmCluster(ClusterSettings("slurm", gpus_per_trial=gpus, sbatch=sbatch))
    (facts,) = cluster.check_nodes()
    assert facts.devices == (f"{device} of a Slurm node",)
    assert (facts.precision, facts.memory) == (None, None), "the node is not known yet"


def test_no_precision_is_decided_or_refused_before_the_node_is_known(commands: Path) -> None:
    access = open_cluster(ComputeOptions(cluster="slurm", gpus_per_trial=1), print)
    assert access is not None
    (device,) = access.devices
    assert (device.device, device.has_bf16) == ("cuda", None)
    texts = [describe_precision(setting, device) for setting in ("auto", "bf16", "fp16", "fp32")]
    assert texts == ["precision as each node has it", "bf16", "fp16", "fp32"]


def test_a_machine_without_slurm_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="sbatch is not installed here; run the command on a login"):
        SlurmCluster(ClusterSettings("slurm"))


@pytest.mark.parametrize("cluster", [None, "ray"])
def test_sbatch_options_need_slurm(cluster: str | None) -> None:
    with pytest.raises(UserError, match="--sbatch: needs --cluster"):
        open_cluster(ComputeOptions(cluster=cluster, sbatch="--mem=1G"), print)


def test_slurm_is_a_cluster_of_the_options(commands: Path) -> None:
    access = open_cluster(ComputeOptions(cluster="slurm", workers=3), print)
    assert access is not None
    assert (access.n_workers(), access.describe()) == (3, "3 workers as jobs of Slurm")


def test_a_refused_submission_leaves_a_closed_run(commands: Path, tmp_path: Path) -> None:
    closed: list[int] = []
    with pytest.raises(UserError, match="sbatch failed: invalid account"):
        open_slurm_executor(
            tmp_path / "study",
            STUDY_ID,
            n_workers=2,
            say=print,
            close_inputs=lambda: closed.append(1),
        )
    assert closed == [1]
    (run,) = (tmp_path / "study" / "cluster").iterdir()
    assert (run / "closed").exists()
