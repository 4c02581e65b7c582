"""Jobs of a run: submit an array of nodes, notice jobs that ended, and submit others for them."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from harness.core.errors import StudyStoppedError
from harness.core.text import count
from harness.execution.local_executor import read_log_tail

LOOK_S = 30.0  # between two calls of squeue: administrators dislike frequent ones
SOON_S = 5.0  # after a node was lost, whose job may have ended
MAX_FAILED_STARTS = 3  # jobs in a row that ended without a registered node
# States of squeue(1) after which a job does not run again.
ENDED_STATES = {
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL"),
    *("OUT_OF_MEMORY", "PREEMPTED", "REVOKED", "TIMEOUT"),
}

UNKNOWN_STATE = "unknown state"  # of a job that squeue no longer lists


class JobQueue(Protocol):
    """Queue of a scheduler."""

    def submit(self, n_jobs: int) -> list[str]:
        """Submit an array of jobs, each of which starts a node; their ids."""
        ...

    def states(self) -> dict[str, tuple[str, str]] | None:
        """State and reason of each job by id; ended ones may be left out. None: no answer."""
        ...

    def cancel(self, job: str) -> None:
        """Cancel one job."""
        ...

    def cancel_all(self) -> None:
        """Cancel all jobs of the run."""
        ...

    def log(self, job: str) -> Path:
        """File with the output of a job."""
        ...


class JobWatch:
    """Keeps a number of nodes alive.

    A job that a user has cancelled is not replaced, any other one that ended is.

    Args:
        jobs: queue of the scheduler; None: nodes are started by hand.
        say: shows a line to the user.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        jobs: JobQueue | None,
        n_workers: int,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._queue, self._n_workers, self._say, self._clock = jobs, n_workers, say, clock
        self._jobs: set[str] = set()  # that should run or wait
        self._pending: set[str] = set()  # at the last look
        self._registered: set[str] = set()  # since they began
        self._own_cancellations: set[str] = set()
        self._n_failed_starts = 0
        self._look_at = 0.0
        self._waiting_line = ""

    def submit(self) -> None:
        """Submit the first array. Raises UserError if the scheduler refuses it."""
        if self._queue is not None:
            self._submit(self._n_workers)
            self._look_at = self._clock() + SOON_S

    def note_registration(self, job: str) -> None:
        """A node of this job has registered."""
        self._registered.add(job)
        self._n_failed_starts = 0

    def note_lost(self, job: str | None, *, is_dead: bool) -> None:
        """A node is lost: its job may have ended, or must be ended."""
        self._look_at = min(self._look_at, self._clock() + SOON_S)
        if self._queue is not None and job is not None and not is_dead:
            self._own_cancellations.add(job)
            self._queue.cancel(job)

    def drop(self, job: str | None) -> None:
        """Cancel a job of a node that cannot be used, and submit no other one for it."""
        if self._queue is not None and job is not None:
            self._queue.cancel(job)

    def look(self, *, has_nodes: bool) -> list[str]:
        """Look at the queue if it is time; submit again what has ended.

        Args:
            has_nodes: at least one node can train; otherwise the user is told what it waits for.

        Returns:
            The jobs that have ended.

        Raises:
            StudyStoppedError: all jobs were cancelled, or jobs end before they can train.
        """
        if self._queue is None or self._clock() < self._look_at:
            return []
        self._look_at = self._clock() + LOOK_S
        if (states := self._queue.states()) is None:
            return []
        ended = {
            job: state
            for job in self._jobs
            if (state := self._state(job, states)) in ENDED_STATES or state == UNKNOWN_STATE
        }
        self._jobs -= ended.keys()
        self._pending = {job for job in self._jobs if states[job][0] == "PENDING"}
        self._registered -= self._pending  # of a job that was requeued
        cancelled = {job for job, state in ended.items() if self._is_cancelled(job, state)}
        self._replace({job: state for job, state in ended.items() if job not in cancelled})
        for job in sorted(cancelled):
            self._say(f"job {job} was cancelled: {count(len(self._jobs), 'job')} left")
        if not self._jobs:
            raise StudyStoppedError(
                "all jobs of the study were cancelled; the same command continues the study"
            )
        self._tell_waiting(states, has_nodes=has_nodes)
        return sorted(ended)

    def cancel_all(self) -> None:
        """Cancel all jobs at the end of the run."""
        if self._queue is not None:
            self._queue.cancel_all()

    def _state(self, job: str, states: dict[str, tuple[str, str]]) -> str:
        if job in states:
            return states[job][0]
        # Slurm forgets a task of an array immediately if it is cancelled before it has begun.
        is_unused = job in self._pending and job not in self._registered
        return "CANCELLED" if is_unused else UNKNOWN_STATE

    def _is_cancelled(self, job: str, state: str) -> bool:
        return state == "CANCELLED" and job not in self._own_cancellations

    def _replace(self, ended: dict[str, str]) -> None:
        """Submit new jobs for ended ones."""
        if not ended:
            return
        assert self._queue is not None
        unregistered = sorted(ended.keys() - self._registered)
        self._n_failed_starts += len(unregistered)
        if self._n_failed_starts >= MAX_FAILED_STARTS:
            job = unregistered[-1]
            raise StudyStoppedError(
                f"{self._n_failed_starts} jobs in a row ended before they could train, last job "
                f"{job} ({ended[job]}); the end of {self._queue.log(job)}:\n{self._log_tail(job)}"
            )
        new_jobs = self._submit(len(ended))
        texts = [f"{job} ({state})" for job, state in sorted(ended.items())]
        self._say(f"jobs ended: {', '.join(texts)}; submitted again: {', '.join(new_jobs)}")

    def _submit(self, n_jobs: int) -> list[str]:
        assert self._queue is not None
        new_jobs = self._queue.submit(n_jobs)
        self._jobs.update(new_jobs)
        self._pending.update(new_jobs)
        return new_jobs

    def _log_tail(self, job: str) -> str:
        assert self._queue is not None
        try:
            return read_log_tail(self._queue.log(job), 0)
        except OSError as error:
            return str(error)

    def _tell_waiting(self, states: dict[str, tuple[str, str]], *, has_nodes: bool) -> None:
        own = [states[job] for job in self._jobs if job in states]
        texts = sorted({f"{state} ({reason})" for state, reason in own})
        line = "" if has_nodes else f"waiting for Slurm: {', '.join(texts)}"
        if line and line != self._waiting_line:
            self._say(line)
            self._waiting_line = line
