"""An agent with a real worker that sees nothing of the controller's disk."""

from pathlib import Path

import pytest

from harness.core.paths import Workspace
from harness.execution.local_executor import LocalExecutor
from harness.execution.protocol import (
    EpochReport,
    TrialFinished,
    TrialStarted,
)
from harness.execution.slots import Slot
from tests.execution.cluster.nodes import TinyStudy, curve, drive, start_agent


@pytest.fixture
def study(tmp_path: Path, polyps: Path) -> TinyStudy:
    return TinyStudy(Workspace(tmp_path / "controller"), polyps)


def test_far_worker_leaves_the_files_of_a_near_one(study: TinyStudy, tmp_path: Path) -> None:
    agent = start_agent(tmp_path / "node", study.files)
    try:
        agent.start(study.inputs(study.task(0)))
        seen = []

        def on_epoch(epoch: int) -> str:
            seen.append(len(curve(study.trial(0))))
            return "continue"

        events = drive(agent, 0, on_epoch)
    finally:
        agent.close()
    assert [type(event) for event in events] == [TrialStarted, *[EpochReport] * 3, TrialFinished]
    assert seen == [1, 2, 3], "the line of an epoch lies here before its event arrives"
    local = LocalExecutor(lambda _: tmp_path / "log", slots=[Slot("cpu", {"OMP_NUM_THREADS": "1"})])
    try:
        local.start(study.task(1))
        near = []
        while not near or not isinstance(near[-1], TrialFinished):
            event = local.next_event(60)
            assert event is not None
            near.append(event)
            if isinstance(event, EpochReport):
                local.answer(1, "continue")
    finally:
        local.close()
    assert curve(study.trial(0)) == curve(study.trial(1))
    far_files, near_files = (files_of(study.trial(n).root) for n in (0, 1))
    assert far_files.keys() == near_files.keys()
    differing = {name for name in far_files if far_files[name] != near_files[name]}
    assert differing <= {"epochs.jsonl", "checkpoint", "checkpoint.previous"}, "times only"


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "trial.json"
    }
