"""Jobs that end: replaced, unless a user cancelled them."""

from pathlib import Path

import pytest

from harness.core.errors import StudyStoppedError
from harness.execution.cluster.slurm.job_watch import LOOK_S, SOON_S, JobWatch


class FakeQueue:
    """A scheduler whose states the test sets."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.n_arrays = folder, 0
        self.jobs: dict[str, tuple[str, str]] | None = {}
        self.cancelled: list[str] = []

    def submit(self, n_jobs: int) -> list[str]:
        self.n_arrays += 1
        ids = [f"{self.n_arrays}_{index}" for index in range(n_jobs)]
        self.jobs = (self.jobs or {}) | dict.fromkeys(ids, ("PENDING", "Priority"))
        return ids

    def states(self) -> dict[str, tuple[str, str]] | None:
        return self.jobs

    def cancel(self, job: str) -> None:
        self.cancelled.append(job)

    def cancel_all(self) -> None:
        self.cancelled.append("all")

    def log(self, job: str) -> Path:
        return self.folder / f"{job}.log"

    def set(self, **states: str) -> None:
        assert self.jobs is not None
        for name, state in states.items():
            self.jobs[name.removeprefix("j")] = (state, "None")


class WatchedQueue:
    def __init__(self, folder: Path, n_workers: int) -> None:
        self.queue, self.now, self.lines = FakeQueue(folder), 0.0, []
        self.watch = JobWatch(self.queue, n_workers, self.lines.append, lambda: self.now)
        self.watch.submit()

    def look(self, *, has_nodes: bool = True) -> list[str]:
        self.now += LOOK_S + 1
        return self.watch.look(has_nodes=has_nodes)

    def register(self, *jobs: str) -> None:
        for job in jobs:
            self.watch.note_registration(job)


def test_a_cancelled_job_is_not_replaced(tmp_path: Path) -> None:
    watched = WatchedQueue(tmp_path, 2)
    watched.register("1_0", "1_1")
    watched.queue.set(j1_0="CANCELLED", j1_1="RUNNING")
    assert watched.look() == ["1_0"]
    assert watched.queue.n_arrays == 1
    assert watched.lines == ["job 1_0 was cancelled: 1 job left"]
    assert watched.look() == [], "told once"


@pytest.mark.parametrize("state", ["TIMEOUT", "NODE_FAIL", "PREEMPTED", "COMPLETED", "FAILED"])
def test_any_other_end_is_replaced(tmp_path: Path, state: str) -> None:
    watched = WatchedQueue(tmp_path, 2)
    watched.register("1_0", "1_1")
    watched.queue.set(j1_0=state, j1_1="RUNNING")
    assert watched.look() == ["1_0"]
    assert watched.lines == [f"jobs ended: 1_0 ({state}); submitted again: 2_0"]
    watched.queue.set(j2_0="RUNNING")
    assert watched.look() == []


def test_a_job_that_the_scheduler_has_forgotten_is_replaced(tmp_path: Path) -> None:
    watched = WatchedQueue(tmp_path, 1)
    watched.register("1_0")
    watched.queue.jobs = {}
    assert watched.look() == ["1_0"]
    assert watched.queue.n_arrays == 2


def test_a_job_that_is_forgotten_before_it_began_was_cancelled(tmp_path: Path) -> None:
    """As Slurm 22.05 does with one task of an array that still waits."""
    watched = WatchedQueue(tmp_path, 2)
    assert watched.queue.jobs is not None
    del watched.queue.jobs["1_0"]
    assert watched.look() == ["1_0"]
    assert watched.lines[0] == "job 1_0 was cancelled: 1 job left"
    watched.register("1_1")
    watched.queue.set(j1_1="RUNNING")
    watched.look()
    watched.queue.set(j1_1="PENDING")  # requeued
    watched.look()
    watched.queue.jobs.clear()
    with pytest.raises(StudyStoppedError, match="all jobs of the study were cancelled"):
        watched.look()


def test_a_job_that_waits_again_is_left_alone(tmp_path: Path) -> None:
    watched = WatchedQueue(tmp_path, 1)
    watched.register("1_0")
    for state in ("COMPLETING", "REQUEUED", "PENDING", "CONFIGURING", "SUSPENDED"):
        watched.queue.set(j1_0=state)
        assert watched.look() == []
    assert watched.queue.n_arrays == 1


def test_a_silent_node_is_cancelled_and_replaced(tmp_path: Path) -> None:
    watched = WatchedQueue(tmp_path, 1)
    watched.register("1_0")
    watched.watch.note_lost("1_0", is_dead=False)
    assert watched.queue.cancelled == ["1_0"]
    watched.queue.set(j1_0="CANCELLED")
    watched.now += SOON_S
    assert watched.watch.look(has_nodes=False) == ["1_0"], "looked at soon"
    assert watched.queue.n_arrays == 2


def test_the_study_stops_when_all_jobs_are_cancelled(tmp_path: Path) -> None:
    watched = WatchedQueue(tmp_path, 2)
    watched.queue.set(j1_0="CANCELLED", j1_1="CANCELLED")
    with pytest.raises(StudyStoppedError, match="all jobs of the study were cancelled"):
        watched.look()


def test_jobs_that_never_register_end_the_study_with_their_log(tmp_path: Path) -> None:
    watched = WatchedQueue(tmp_path, 1)
    (tmp_path / "3_0.log").write_text("python: command not found\n")
    for array in (1, 2):
        watched.queue.set(**{f"j{array}_0": "FAILED"})
        watched.look()
    watched.queue.set(j3_0="FAILED")
    with pytest.raises(StudyStoppedError, match=r"3 jobs in a row .*\n.*command not found"):
        watched.look()


def test_a_registration_forgives_earlier_failed_starts(tmp_path: Path) -> None:
    watched = WatchedQueue(tmp_path, 1)
    for array in range(1, 8):
        if array % 2 == 0:
            watched.register(f"{array}_0")
        watched.queue.set(**{f"j{array}_0": "NODE_FAIL"})
        watched.look()
    assert watched.queue.n_arrays == 8


def test_nothing_is_concluded_while_the_scheduler_does_not_answer(tmp_path: Path) -> None:
    watched = WatchedQueue(tmp_path, 1)
    watched.queue.jobs = None
    assert watched.look() == []
    assert watched.queue.n_arrays == 1


def test_the_user_is_told_what_a_study_without_nodes_waits_for(tmp_path: Path) -> None:
    watched = WatchedQueue(tmp_path, 2)
    watched.look(has_nodes=False)
    watched.look(has_nodes=False)
    assert watched.lines == ["waiting for Slurm: PENDING (Priority)"]
    watched.look(has_nodes=True)
    assert len(watched.lines) == 1


def test_squeue_is_called_rarely(tmp_path: Path) -> None:
    watched = WatchedQueue(tmp_path, 1)
    n_calls = 0

    def states() -> dict[str, tuple[str, str]]:
        nonlocal n_calls
        n_calls += 1
        return {"1_0": ("RUNNING", "None")}

    watched.queue.states = states
    for _ in range(600):
        watched.now += 0.25
        watched.watch.look(has_nodes=True)
    assert 4 <= n_calls <= 6, "in 150 s"
