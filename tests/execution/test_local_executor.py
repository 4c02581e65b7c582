import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from harness.config.data import StudyDataConfig
from harness.config.study import ObjectiveConfig, TrialConfig
from harness.execution.local_executor import LocalExecutor
from harness.execution.oom_kills import count_oom_kills
from harness.execution.protocol import (
    EpochReport,
    Event,
    TrialFailed,
    TrialFinished,
    TrialTask,
    WorkerDied,
)
from harness.execution.slots import Slot

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
        assert isinstance(event, EpochReport)
        assert executor.next_event(0.05) is None, "it went on without an answer"
        seen.append(event.epoch)
        executor.answer(0, "continue")
    assert seen == [1, 2]
    end = next_event(executor)
    assert isinstance(end, TrialFinished) and end.result.outcome == "complete"
    log = (tmp_path / "worker-0.log").read_text(encoding="utf-8")
    assert "a library's chatter" in log and "chatter below Python" in log


def test_one_warm_process_serves_trial_after_trial(executor: LocalExecutor) -> None:
    pids = []
    for number in range(3):
        executor.start(task(number, 0))
        next_event(executor)
        executor.answer(number, "prune")
        end = next_event(executor)
        assert (
            isinstance(end, TrialFinished)
            and end.result.outcome == "pruned"
            and end.number == number
        )
        pids.append(end.result.costs["pid"])
    assert len(set(pids)) == 1 and pids[0] != os.getpid()


@pytest.mark.parametrize(("gpus", "shared"), [(("0", "0"), 1.0), (("0", "1"), 0.0)])
def test_workers_are_told_whether_they_share_a_gpu(
    gpus: tuple[str, str], shared: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    slots = [Slot("cpu", {"CUDA_VISIBLE_DEVICES": gpu}) for gpu in gpus]
    module = "tests.execution.scripted_worker"
    local = LocalExecutor(lambda slot: tmp_path / f"{slot}.log", slots=slots, module=module)
    try:
        local.start(task(0, 0))
        next_event(local)
        local.answer(0, "prune")
        end = next_event(local)
        assert isinstance(end, TrialFinished) and end.result.costs["shares_gpu"] == shared
    finally:
        local.close()


def test_trials_on_a_gpu_are_limited_and_surplus_workers_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two GPUs of two slots each; trials that run when the limit falls are finished."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    slots = [Slot("cpu", {"CUDA_VISIBLE_DEVICES": gpu}) for gpu in ("0", "1", "0", "1")]
    module = "tests.execution.scripted_worker"
    local = LocalExecutor(lambda slot: tmp_path / f"{slot}.log", slots=slots, module=module)
    try:
        assert local.slots == 4
        local.limit_per_gpu(1)
        assert local.slots == 2
        local.limit_per_gpu(2)
        for number in range(3):
            local.start(task(number, 0))
            next_event(local)
        local.limit_per_gpu(1)
        assert local.slots == 3  # both on GPU 0 run on, and no other may start beside them
        for number in (0, 2):
            local.answer(number, "prune")
            assert isinstance(next_event(local), TrialFinished)
        assert local.slots == 2
        children = psutil.Process().children()
        local.start(task(3, 0))
        next_event(local)
        assert local.slots == 2
        assert sum(not child.is_running() for child in children) == 1  # of the second slot of GPU 0
    finally:
        local.close()


def test_failed_trial_leaves_the_worker_alive(executor: LocalExecutor) -> None:
    executor.start(task(0, 2))
    assert isinstance(next_event(executor), TrialFailed)
    executor.start(task(1, 2))
    assert isinstance(next_event(executor), TrialFailed)


def test_vanished_worker_is_reported_and_replaced(executor: LocalExecutor) -> None:
    executor.start(task(0, 1))
    next_event(executor)
    executor.answer(0, "continue")
    event = next_event(executor)
    assert isinstance(event, WorkerDied)
    assert (event.number, event.attempt, event.exit_code) == (0, 1, 7)
    assert event.log_tail.endswith("last words")
    executor.start(task(0, 0, attempt=2))
    again = next_event(executor)
    assert isinstance(again, EpochReport) and again.attempt == 2


def test_closing_ends_a_worker_that_hangs(executor: LocalExecutor) -> None:
    before = set(psutil.Process().children())  # of other tests, e.g. multiprocessing's own
    executor.start(task(0, 3))
    (worker,) = set(psutil.Process().children()) - before
    executor.close()
    assert not worker.is_running()
    assert executor.next_event(0.2) is None, "an ended worker is no vanished one"


def test_line_torn_by_a_kill_is_no_event(executor: LocalExecutor) -> None:
    executor.start(task(0, 4))
    event = next_event(executor)
    assert isinstance(event, WorkerDied) and event.exit_code == 1


def test_segmentation_fault_leaves_a_traceback(executor: LocalExecutor) -> None:
    executor.start(task(0, 2))
    next_event(executor)
    executor.start(task(1, 5))
    event = next_event(executor)
    assert isinstance(event, WorkerDied) and event.exit_code == -signal.SIGSEGV
    assert "Segmentation fault" in event.log_tail and "scripted_worker.py" in event.log_tail


@pytest.mark.parametrize("what", [0, 6])
def test_abandoned_worker_says_where_it_was(executor: LocalExecutor, what: int) -> None:
    """Whether it waits in Python or is stuck in C, where no handler of Python's ever runs."""
    executor.start(task(0, 0))
    next_event(executor)
    executor.answer(0, "prune")
    next_event(executor)  # it is warm: what follows is not hidden by its start
    executor.start(task(1, what))
    next_event(executor)
    (worker,) = (worker._process for worker in executor._workers)
    stacks = executor.kill_trial(1)
    assert worker is not None and worker.returncode == -signal.SIGABRT
    assert "scripted_worker.py" in stacks
    executor.start(task(1, 0, attempt=2))
    again = next_event(executor)
    assert isinstance(again, EpochReport) and again.attempt == 2, "no word of the one before"


def test_stopped_worker_is_dead_before_its_trial_begins_again(
    executor: LocalExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.execution.local_executor.ABORT_S", 0.2)
    executor.start(task(0, 0))
    next_event(executor)
    old = executor._workers[0]._process
    assert old is not None
    os.kill(old.pid, signal.SIGSTOP)
    executor.kill_trial(0)
    assert old.returncode == -signal.SIGKILL, "SIGCONT finds nobody to wake"
    executor.start(task(0, 0, attempt=2))
    again = next_event(executor)
    assert isinstance(again, EpochReport) and again.attempt == 2


def test_kills_for_memory_are_told_apart(
    executor: LocalExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = iter([5, 5, 5, 6])  # at each start and end
    monkeypatch.setattr("harness.execution.local_executor.count_oom_kills", lambda: next(counts))
    seen = []
    for attempt in (1, 2):
        executor.start(task(0, 0, attempt=attempt))
        next_event(executor)
        process = executor._workers[0]._process
        assert process is not None
        process.kill()
        event = next_event(executor)
        assert isinstance(event, WorkerDied) and event.exit_code == -signal.SIGKILL
        seen.append(event.out_of_memory)
    assert seen == [False, True]


def test_spoilt_worker_is_not_used_again(executor: LocalExecutor) -> None:
    pids = []
    for number in range(2):
        executor.start(task(number, 2))
        assert isinstance(next_event(executor), TrialFailed)
        process = executor._workers[0]._process
        assert process is not None
        pids.append(process.pid)
    assert len(set(pids)) == 2


def test_task_of_a_node_says_that_its_gpu_is_shared(executor: LocalExecutor) -> None:
    """With the workers of other executors, which this one does not know."""
    executor.start(task(0, 0).model_copy(update={"shares_gpu": True}))
    next_event(executor)
    executor.answer(0, "prune")
    end = next_event(executor)
    assert isinstance(end, TrialFinished) and end.result.costs["shares_gpu"] == 1.0


CONTROLLER = """
import sys
from pathlib import Path
from harness.execution.local_executor import LocalExecutor
from harness.execution.oom_kills import count_oom_kills
from tests.execution.test_local_executor import next_event, task

executor = LocalExecutor(lambda slot: Path(sys.argv[1]), module="tests.execution.scripted_worker")
executor.start(task(0, 6))
next_event(executor)
print(executor._workers[0]._process.pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the end of its input has to do")
def test_stuck_worker_dies_with_a_killed_controller(tmp_path: Path) -> None:
    """The kernel ends it: stuck in C, it does not notice that its standard input has closed."""
    controller = subprocess.Popen(
        [sys.executable, "-c", CONTROLLER, str(tmp_path / "log")],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with controller:
        assert controller.stdout is not None
        worker = psutil.Process(int(controller.stdout.readline()))
        assert worker.is_running()
        controller.kill()
    _, alive = psutil.wait_procs([worker], timeout=10)
    left = [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]
    for process in left:
        process.kill()
    assert not left, "an orphan"


def test_worker_ends_when_its_controller_is_gone(executor: LocalExecutor) -> None:
    """A controller that is killed closes the pipe and nothing else."""
    executor.start(task(0, 3))
    worker = executor._workers[0]._process
    assert worker is not None and worker.stdin is not None
    worker.stdin.close()
    assert worker.wait(WAIT_S) == 0


def group(root: Path, own: str, **files: str) -> int | None:
    """What is counted where /proc/self/cgroup is `own` and the hierarchy holds these files."""
    root.mkdir()
    (root / "cgroup").write_text(own, encoding="ascii")
    for name, text in files.items():
        path = root / "fs" / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="ascii")
    return count_oom_kills(root / "cgroup", root / "fs")


def test_kills_are_counted_in_the_own_group(tmp_path: Path) -> None:
    events = "low 0\nhigh 0\nmax 7\noom 5\noom_kill {}\noom_group_kill 0\n"
    two, one = {"job__memory_dot_events": events.format(3)}, "under_oom 0\noom_kill 2\n"
    assert group(tmp_path / "v2", "0::/job\n", **two) == 3
    container = {"memory_dot_events": events.format(4)}
    assert group(tmp_path / "container", "0::/docker/abc\n", **container) == 4
    old = {"memory__job__memory_dot_oom_control": one}
    assert group(tmp_path / "v1", "5:cpu,cpuacct:/x\n4:memory:/job\n", **old) == 2


def test_no_count_where_the_kernel_does_not_tell(tmp_path: Path) -> None:
    assert group(tmp_path / "root", "0::/\n") is None
    assert count_oom_kills(tmp_path / "absent", tmp_path) is None
