from signal import SIGBUS, SIGKILL, SIGSEGV, SIGTERM

import pytest

from harness.core.records import TrialFailure
from harness.execution.protocol import WorkerDied
from harness.search.run.failures import MAX_PREEMPTIONS, AttemptCounter


def gone(exit_code: int, *, out_of_memory: bool = False) -> WorkerDied:
    return WorkerDied(
        number=0,
        attempt=1,
        exit_code=exit_code,
        log_tail="the log's end",
        out_of_memory=out_of_memory,
    )


@pytest.mark.parametrize("signal", [SIGKILL, SIGTERM])
def test_killed_workers_are_preempted_and_count_nothing_for_long(signal: int) -> None:
    attempts = AttemptCounter()
    for _ in range(3):  # over and over, with an epoch now and then
        assert all(attempts.worker_died(gone(-signal)) is None for _ in range(MAX_PREEMPTIONS - 1))
        attempts.epoch_finished(attempts.epoch + 1)
    for _ in range(MAX_PREEMPTIONS - 1):
        assert attempts.worker_died(gone(-signal)) is None
    failure = attempts.worker_died(gone(-signal))
    assert failure is not None and failure.cause == "crashed"
    assert "20 times without an epoch in between" in failure.message


@pytest.mark.parametrize(
    ("code", "words"), [(-SIGSEGV, "signal SIGSEGV"), (3, "code 3"), (-64, "signal")]
)
def test_third_crash_without_a_new_epoch_is_the_last(code: int, words: str) -> None:
    attempts = AttemptCounter()
    for epoch in (1, 2):
        assert attempts.worker_died(gone(code)) is None
        assert attempts.worker_died(gone(code)) is None
        attempts.epoch_finished(epoch)
    assert attempts.worker_died(gone(code)) is None
    attempts.epoch_finished(2)  # reported again from the log: no progress
    assert attempts.worker_died(gone(code)) is None
    failure = attempts.worker_died(gone(code))
    assert failure is not None and failure.cause == "crashed" and words in failure.message
    assert failure.traceback == "the log's end"


def test_preemption_between_crashes_neither_counts_nor_forgives() -> None:
    attempts = AttemptCounter()
    for code in (3, -SIGKILL, 3, -SIGKILL):
        assert attempts.worker_died(gone(code)) is None
    assert attempts.worker_died(gone(3)) is not None


def test_memory_of_the_machine_is_tried_once_more() -> None:
    attempts = AttemptCounter()
    assert attempts.worker_died(gone(-SIGKILL, out_of_memory=True)) is None
    failure = attempts.worker_died(gone(-SIGKILL, out_of_memory=True))
    assert failure is not None and failure.cause == "host_out_of_memory"


def test_bus_error_is_shared_memory_and_tried_once_more() -> None:
    attempts = AttemptCounter()
    assert attempts.worker_died(gone(-SIGBUS)) is None
    assert attempts.attempt_failed(TrialFailure(cause="host_out_of_memory", message="")) is None
    failure = attempts.worker_died(gone(-SIGBUS))
    assert failure is not None and failure.cause == "shared_memory"


def test_third_silence_is_a_hang() -> None:
    attempts = AttemptCounter()
    assert [attempts.worker_hung(600.0, "") for _ in range(2)] == [None, None]
    failure = attempts.worker_hung(612.3, "in sleep")
    assert failure is not None and failure.cause == "hung"
    assert "last for 612 s" in failure.message and failure.traceback == "in sleep"


def test_third_unexpected_exception_without_a_new_epoch_is_the_last() -> None:
    attempts = AttemptCounter()
    failure = TrialFailure(cause="crashed", message="OSError: [Errno 5] Input/output error")
    for epoch in (1, 2):
        assert [attempts.attempt_failed(failure) for _ in range(2)] == [None, None]
        attempts.epoch_finished(epoch)
    assert attempts.attempt_failed(failure) is None
    attempts.epoch_finished(2)  # reported again from the log: no progress
    assert attempts.attempt_failed(failure) is None
    assert attempts.attempt_failed(failure) is failure


def test_exceptions_and_deaths_of_a_worker_count_together() -> None:
    attempts = AttemptCounter()
    failure = TrialFailure(cause="crashed", message="RuntimeError: CUDA error: unknown error")
    assert attempts.worker_died(gone(3)) is None
    assert attempts.attempt_failed(failure) is None
    assert attempts.worker_hung(600.0, "") is not None


@pytest.mark.parametrize("cause", ["out_of_memory", "diverged", "bad_data", "bad_configuration"])
def test_what_would_happen_again_is_not_tried_again(cause: str) -> None:
    failure = TrialFailure(cause=cause, message="no")
    assert AttemptCounter().attempt_failed(failure) is failure
