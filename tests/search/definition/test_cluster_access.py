"""Options of a cluster that contradict one another."""

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import UserError
from harness.execution.cluster.cluster_settings import ClusterSettings
from harness.execution.cluster.messages import NodeFacts
from harness.search.definition.cluster_access import ClusterAccess, open_cluster
from harness.search.definition.options import ComputeOptions


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gpus_per_trial": 0.5}, "--gpus-per-trial: needs --cluster"),
        ({"scratch": "s3://b"}, "--scratch: needs --cluster"),
        ({"ship_code": True}, "--ship-code: needs --cluster"),
        ({"workers": "max"}, "--workers max: needs --cluster"),
        (
            {"cluster": "ray", "workers": "auto"},
            "--workers auto: cannot be combined with --cluster",
        ),
        ({"cluster": "ray", "gpus": "0"}, "--gpus 0: chooses devices of this machine"),
        ({"cluster": "ray", "device": "cuda"}, "--device cuda: chooses devices"),
        ({"cluster": "ray", "gpus_per_trial": 2.0}, "--gpus-per-trial 2: must be 0, a part"),
        ({"cluster": "ray", "gpus_per_trial": 0.001}, "--gpus-per-trial 0.001: must be 0"),
        ({"cluster": "dask"}, "choose from ray"),
    ],
)
def test_contradictions_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        open_cluster(ComputeOptions(**options), print)


def test_no_cluster_means_no_ray() -> None:
    assert open_cluster(ComputeOptions(workers=2), print) is None
    code = "import sys, harness.search.run.launch; print('ray' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


class Connection:
    """A cluster without nodes, which keeps its settings."""

    def __init__(self, settings: ClusterSettings) -> None:
        self.settings = settings

    def check_nodes(self) -> list[NodeFacts]:
        return []

    def n_workers(self) -> int:
        return 1

    def describe(self) -> str:
        return ""

    def open_executor(self, *_: Any, **__: Any) -> Any:
        raise AssertionError

    def close(self) -> None:
        """Nothing was opened."""


@pytest.mark.parametrize(
    ("scratch", "expected"),
    [
        ("checkpoints", "{folder}/checkpoints"),
        ("~/checkpoints", "/home/me/checkpoints"),
        ("/mnt/all", "/mnt/all"),
        ("s3://bucket/x", "s3://bucket/x"),
    ],
)
def test_scratch_is_the_same_on_all_nodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scratch: str, expected: str
) -> None:
    """Nodes have another current folder and perhaps another home."""
    seen: list[ClusterSettings] = []

    def connect(settings: ClusterSettings, _: Any) -> Connection:
        seen.append(settings)
        return Connection(settings)

    monkeypatch.setattr("harness.search.definition.cluster_access._connect", connect)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    open_cluster(ComputeOptions(cluster="ray", scratch=scratch), print)
    assert seen[0].scratch == expected.format(folder=tmp_path)


def test_controller_opens_the_store_of_its_study(tmp_path: Path) -> None:
    """It removes the checkpoints of trials that have ended."""
    connection = Connection(ClusterSettings("ray"))
    assert ClusterAccess(connection).open_store("a" * 32) is None
    store = ClusterAccess(connection, str(tmp_path)).open_store("a" * 32)
    assert store is not None
    store.save(7, 1, io.BytesIO(b"x"), 1)
    assert (tmp_path / ("a" * 32) / "0007").is_dir()
