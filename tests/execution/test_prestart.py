import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from harness.execution.local_executor import LocalExecutor
from harness.execution.prestart import (
    ALLOCATOR_ENVIRONMENT,
    MODULE,
    PrestartedWorker,
    prestarted_worker,
)
from harness.execution.protocol import EpochReport, TrialFinished, WorkerDied
from harness.execution.slots import Slot
from tests.execution.test_local_executor import ROOT, next_event, task

SCRIPTED = "tests.execution.scripted_worker"


@pytest.fixture
def early(monkeypatch: pytest.MonkeyPatch) -> Iterator[PrestartedWorker]:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    early = PrestartedWorker(SCRIPTED)
    yield early
    early.close()


def child_that_runs(module: str) -> psutil.Process:
    """The child process with this module.

    Waited for: Linux closes the pipe that `Popen` waits for before it sets the command line.
    """
    deadline = time.monotonic() + 30
    while not (found := [p for p in psutil.Process().children() if module in p.cmdline()]):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    (process,) = found
    return process


def test_early_worker_trains_the_first_trial_and_those_after(
    early: PrestartedWorker, tmp_path: Path
) -> None:
    process = child_that_runs(SCRIPTED)
    executor = LocalExecutor(lambda _: tmp_path / "log", module=SCRIPTED, prestarted=early)
    for number in range(2):
        executor.start(task(number, 0))
        assert isinstance(next_event(executor), EpochReport)
        executor.answer(number, "prune")
        end = next_event(executor)
        assert isinstance(end, TrialFinished) and end.result.costs["pid"] == process.pid
    early.close()  # it was taken: its executor ends it
    assert process.is_running()
    executor.close()
    assert not process.is_running()


def test_worker_keeps_its_memory_unless_the_user_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1000000")
    with prestarted_worker(True):
        process = child_that_runs(MODULE)
        found = process.environ()
    told = {name: found[name] for name in ALLOCATOR_ENVIRONMENT}
    assert told == ALLOCATOR_ENVIRONMENT | {"MALLOC_TRIM_THRESHOLD_": "1000000"}


def test_what_an_early_worker_printed_is_in_its_log(
    early: PrestartedWorker, tmp_path: Path
) -> None:
    log = tmp_path / "logs" / "worker-0.log"
    executor = LocalExecutor(lambda _: log, module=SCRIPTED, prestarted=early)
    executor.start(task(0, 1))
    next_event(executor)
    executor.answer(0, "continue")
    gone = next_event(executor)
    assert isinstance(gone, WorkerDied) and gone.log_tail.endswith("last words")
    executor.start(task(0, 0, attempt=2))  # in a process of the executor's own
    assert isinstance(next_event(executor), EpochReport)
    executor.close()
    assert "a library's chatter" in log.read_text(encoding="utf-8")


def test_slot_with_an_environment_of_its_own_takes_none(
    early: PrestartedWorker, tmp_path: Path
) -> None:
    slot = Slot("cpu", {"OMP_NUM_THREADS": "1"})
    executor = LocalExecutor(
        lambda _: tmp_path / "log", slots=[slot], module=SCRIPTED, prestarted=early
    )
    executor.start(task(0, 0))
    next_event(executor)
    executor.close()
    taken = early.hand_over(tmp_path / "other")
    assert taken is not None
    assert early.hand_over(tmp_path / "other") is None, "it is there once"
    process, copier = taken
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        assert pipe is not None
        pipe.close()
    copier.join()


def test_executor_of_another_kind_of_worker_takes_none(
    early: PrestartedWorker, tmp_path: Path
) -> None:
    executor = LocalExecutor(lambda _: tmp_path / "log", module="another", prestarted=early)
    assert executor._workers[0].prestarted is None


def test_worker_that_nobody_took_is_ended() -> None:
    with prestarted_worker(enabled=False) as none:
        assert none is None
    before = set(psutil.Process().children())
    with prestarted_worker(enabled=True):
        (process,) = set(psutil.Process().children()) - before
    assert not process.is_running()


def test_early_worker_ends_with_the_process_that_started_it() -> None:
    code = (
        "import os, time\nfrom harness.execution.prestart import PrestartedWorker\n"
        f"early = PrestartedWorker({SCRIPTED!r})\n"
        "print(early._process.pid, flush=True)\nos.kill(os.getpid(), 9)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    pid = int(done.stdout)
    until = time.monotonic() + 30
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < until, "an orphan"
        time.sleep(0.05)
