"""Trainings of real networks by agents that see nothing of the controller's disk."""

from pathlib import Path
from typing import Any

import pytest

from harness.core.paths import Workspace
from harness.execution.local_executor import LocalExecutor
from harness.execution.protocol import EpochReport, TrialFinished, TrialStarted, WorkerDied
from harness.execution.slots import Slot
from harness.models.weights import are_cached
from tests.execution.cluster.nodes import TinyStudy, curve, drive, kill_worker, start_agent

pytestmark = [pytest.mark.slow, pytest.mark.cluster]


@pytest.fixture
def study(tmp_path: Path, polyps: Path) -> TinyStudy:
    return TinyStudy(Workspace(tmp_path / "controller"), polyps)


def train_here(study: TinyStudy, number: int, log: Path, **changes: Any) -> TrialFinished:
    """Train a trial on the controller's machine, undisturbed."""
    local = LocalExecutor(lambda _: log, slots=[Slot("cpu", {"OMP_NUM_THREADS": "1"})])
    try:
        local.start(study.task(number, **changes))
        while not isinstance(event := local.next_event(120), TrialFinished):
            assert event is not None
            if isinstance(event, EpochReport):
                local.answer(number, "continue")
    finally:
        local.close()
    return event


def files_of(folder: Path) -> dict[str, bytes]:
    """Files of a trial in which no time is written."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.parent != folder
    }


def test_far_worker_leaves_the_files_of_a_near_one(study: TinyStudy, tmp_path: Path) -> None:
    agent = start_agent(tmp_path / "node", study.files)
    seen = []

    def on_epoch(_: int) -> Any:
        seen.append(len(curve(study.trial(0))))
        return "continue"

    try:
        agent.start(study.inputs(study.task(0)))
        events = drive(agent, 0, on_epoch)
    finally:
        agent.close()
    assert [type(event) for event in events] == [TrialStarted, *[EpochReport] * 3, TrialFinished]
    assert seen == [1, 2, 3], "the line of an epoch lies here before its event arrives"
    near = train_here(study, 1, tmp_path / "log")
    assert curve(study.trial(0)) == curve(study.trial(1))
    far_files, near_files = (files_of(study.trial(n).root) for n in (0, 1))
    assert far_files == near_files and len(far_files) > 5
    last = events[-1]
    assert isinstance(last, TrialFinished)
    assert (last.result.value, last.result.best) == (near.result.value, near.result.best)
    names = {path.name for path in study.trial(0).root.iterdir()}
    assert {"checkpoint", "checkpoint.previous", "epochs.jsonl", "overlays", "best"} <= names


@pytest.mark.smoke
def test_training_moves_from_node_to_node_to_the_last_digit(
    study: TinyStudy, tmp_path: Path
) -> None:
    """Killed after each epoch, on three nodes in turn."""
    n_reported = 0
    for attempt in (1, 2, 3):
        agent = start_agent(tmp_path / f"node{attempt}", study.files)

        def on_epoch(epoch: int, attempt: int = attempt) -> Any:
            nonlocal n_reported
            n_reported += 1
            if epoch == attempt and attempt < 3:
                kill_worker()
            return "continue"

        try:
            agent.start(study.inputs(study.task(0, attempt)))
            events = drive(agent, 0, on_epoch)
        finally:
            agent.close()
        assert isinstance(events[-1], TrialFinished if attempt == 3 else WorkerDied)
    train_here(study, 1, tmp_path / "log")
    assert curve(study.trial(0)) == curve(study.trial(1))
    assert files_of(study.trial(0).root) == files_of(study.trial(1).root)
    # The log of a continued training is reported again, its epochs are not trained again.
    assert n_reported == 1 + (1 + 1) + (2 + 1)


@pytest.mark.real
def test_pretrained_weights_reach_a_node_without_a_cache(study: TinyStudy, tmp_path: Path) -> None:
    """The worker of the node knows no other Hugging Face cache than what its agent has fetched."""
    if not are_cached("mobilenet_v2"):
        pytest.skip("$HF_HOME holds no weights of mobilenet_v2")
    weights = {"model__encoder_weights": "imagenet", "train__epochs": 1}
    slot = Slot("cpu", {"OMP_NUM_THREADS": "1", "HF_HOME": "/far-away"})
    agent = start_agent(tmp_path / "node", study.files, slot=slot)
    try:
        agent.start(study.inputs(study.task(0, **weights)))
        events = drive(agent, 0)
    finally:
        agent.close()
    assert isinstance(events[-1], TrialFinished), events[-1]
    train_here(study, 1, tmp_path / "log", **weights)
    assert curve(study.trial(0)) == curve(study.trial(1))
