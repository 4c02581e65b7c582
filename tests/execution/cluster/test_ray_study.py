"""Studies on a Ray cluster whose nodes see nothing of the workspace."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.core.paths import StudyPaths, Workspace
from harness.core.records import read_epochs, read_record, read_records
from tests.execution.cluster.machines import ADDRESS, RayMachines, ray_machines, reason_to_skip

SKIP_REASON = reason_to_skip()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.cluster,
    pytest.mark.skipif(SKIP_REASON is not None, reason=str(SKIP_REASON)),
]
NETWORK = """\
from torch import nn

from harness import parts


@parts.network()
def dot(in_channels: int, classes: int):
    layers = nn.Conv2d(in_channels, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Conv2d(4, classes, 1)
    return nn.Sequential(*layers)
"""
CLUSTER = ("--cluster", f"ray:{ADDRESS}")


def write_space(folder: Path, epochs: int) -> list[str]:
    """Options of a study of a tiny network of the user, with a checkpoint after each epoch."""
    fixed = {"model.arch": "dot", "data.image_size": 32, "train.batch_size": 8}
    fixed |= {"train.epochs": epochs, "train.checkpoint_s": 0, "data.augment": "light"}
    rates = {"low": 1e-4, "high": 1e-2, "log": True}
    space = {"parameters": {"optim.lr": rates}, "fixed": fixed}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "s.yaml").write_text(yaml.safe_dump(space), encoding="utf-8")
    (folder / "mine.py").write_text(NETWORK, encoding="utf-8")
    options = ["run", "--space", str(folder / "s.yaml"), "--parts", str(folder / "mine.py")]
    return [*options, "--data", "synthetic", "--sampler", "random", "--pruner", "none"]


def study_of(workspace: Path) -> StudyPaths:
    return Workspace(workspace).study("s")


def results_of(paths: StudyPaths) -> list[dict[str, Any]]:
    """Values, parameters and curves of all trials, without what the clock decides."""
    timed = ("time_ms", "seconds")
    return [
        {
            "state": record.state,
            "params": record.params,
            "value": record.value,
            "best": {k: v for k, v in record.best.items() if "seconds" not in k},
            "curve": [
                {key: value for key, value in line.items() if key not in timed}
                for line in read_epochs(paths.trial(record.number))
            ],
        }
        for record in read_records(paths)
    ]


def local_results(machines: RayMachines, tmp_path: Path, epochs: int, trials: int) -> Any:
    """Results of the same study, undisturbed and on this machine alone."""
    workspace = tmp_path / "local"
    options = write_space(tmp_path / "space", epochs)
    code, output = machines.run(
        *options, "--trials", str(trials), "--workspace", str(workspace), "--device", "cpu"
    )
    assert code == 0, output
    return results_of(study_of(workspace))


def test_study_on_two_nodes_equals_the_local_one(tmp_path: Path) -> None:
    options = write_space(tmp_path / "space", epochs=3)
    workspace = tmp_path / "far"
    with ray_machines(workspace, nodes=2) as machines:
        words = ("--trials", "4", "--workspace", str(workspace), "--workers", "2", *CLUSTER)
        code, output = machines.run(*options, *words)
        assert code == 0, output
        expected = local_results(machines, tmp_path, 3, 4)
    paths = study_of(workspace)
    assert results_of(paths) == expected
    assert len(expected) == 4 and all(len(row["curve"]) == 3 for row in expected)
    record = read_record(paths.trial(0).trial_json)
    assert (record.host, record.device, record.attempt) == (_host(), "cpu", 1)
    best = sorted(p.name for p in (paths.trial(0).root / "best").iterdir())
    local_best = study_of(tmp_path / "local").trial(0).root / "best"
    assert best == sorted(p.name for p in local_best.iterdir()) and "scores.csv" in best
    assert "2 workers with 1 CPU each on Ray at 127.0.0.1:6379" in output
    assert not list(paths.root.rglob(".shared-probe*")) and json.dumps(expected)


def _host() -> str:
    import socket

    return socket.gethostname()
