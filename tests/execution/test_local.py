import os
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from harness.config import ObjectiveConfig, TrialConfig
from harness.data_config import StudyDataConfig
from harness.execution.local import LocalExecutor
from harness.execution.protocol import Ended, EpochDone, Event, Failed, TrialTask, Vanished

ROOT = Path(__file__).resolve().parents[2]
WAIT_S = 60.0


@pytest.fixture
def executor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalExecutor]:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    local = LocalExecutor(
        lambda slot: tmp_path / f"worker-{slot}.log", module="tests.execution.scripted_worker"
    )
    yield local
    local.close()


def task(number: int, what: int, attempt: int = 1) -> TrialTask:
    nowhere = Path("nowhere")
    return TrialTask(
        number=number,
        attempt=attempt,
        config=TrialConfig(),
        seed=what,
        objective=ObjectiveConfig(),
        trial_dir=nowhere,
        data_root=nowhere,
        split_csv=nowhere,
        cache=nowhere,
        data=StudyDataConfig(eval_size=32),
        augments=Path("augment"),
        max_pixels=1e6,
        device="cpu",
    )


def next_event(executor: LocalExecutor) -> Event:
    event = executor.next_event(WAIT_S)
    assert event is not None, "no event came"
    return event


def test_epochs_wait_for_answers_and_prints_land_in_the_log(
    executor: LocalExecutor, tmp_path: Path
) -> None:
    executor.start(task(0, 0))
    seen = []
    for _ in range(2):
        event = next_event(executor)
        assert isinstance(event, EpochDone)
        assert executor.next_event(0.05) is None, "it went on without an answer"
        seen.append(event.epoch)
        executor.answer(0, "continue")
    assert seen == [1, 2]
    end = next_event(executor)
    assert isinstance(end, Ended) and end.outcome == "complete"
    log = (tmp_path / "worker-0.log").read_text(encoding="utf-8")
    assert "a library's chatter" in log and "chatter below Python" in log


def test_one_warm_process_serves_trial_after_trial(executor: LocalExecutor) -> None:
    pids = []
    for number in range(3):
        executor.start(task(number, 0))
        next_event(executor)
        executor.answer(number, "prune")
        end = next_event(executor)
        assert isinstance(end, Ended) and end.outcome == "pruned" and end.number == number
        pids.append(end.costs["pid"])
    assert len(set(pids)) == 1 and pids[0] != os.getpid()


def test_failed_trial_leaves_the_worker_alive(executor: LocalExecutor) -> None:
    executor.start(task(0, 2))
    assert isinstance(next_event(executor), Failed)
    executor.start(task(1, 2))
    assert isinstance(next_event(executor), Failed)


def test_vanished_worker_is_reported_and_replaced(executor: LocalExecutor) -> None:
    executor.start(task(0, 1))
    next_event(executor)
    executor.answer(0, "continue")
    event = next_event(executor)
    assert isinstance(event, Vanished)
    assert (event.number, event.attempt, event.exit_code) == (0, 1, 7)
    assert event.last_words.endswith("last words")
    executor.start(task(0, 0, attempt=2))
    again = next_event(executor)
    assert isinstance(again, EpochDone) and again.attempt == 2


def test_closing_ends_a_worker_that_hangs(executor: LocalExecutor) -> None:
    before = set(psutil.Process().children())  # of other tests, e.g. multiprocessing's own
    executor.start(task(0, 3))
    (worker,) = set(psutil.Process().children()) - before
    executor.close()
    assert not worker.is_running()
    assert executor.next_event(0.2) is None, "an ended worker is no vanished one"


def test_worker_ends_when_its_controller_is_gone(executor: LocalExecutor) -> None:
    """A controller that is killed closes the pipe and nothing else."""
    executor.start(task(0, 3))
    worker = executor._workers[0]._process
    assert worker is not None and worker.stdin is not None
    worker.stdin.close()
    assert worker.wait(WAIT_S) == 0
