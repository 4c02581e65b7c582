"""A shipper on a thread of its own, which nobody has to wait for; not for its imports either."""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from harness.config.study import StudyConfig
from harness.core.errors import UserError
from harness.core.paths import StudyPaths
from harness.tracking.fields import MAX_FAILURES_IN_A_ROW, STUDY_NUMBER, record_run_ids
from harness.tracking.uri import TrackingStore

if TYPE_CHECKING:
    from harness.tracking.sync import MlflowSync

MAX_PAUSE_S = 60.0


class Mirror:
    """Keeps MLflow up with one study while it runs.

    Args:
        store: the store.
        paths: the study's folder.
        config: its definition.
        log: takes one line when MLflow fails, and when it answers again.
        pause_s: after a failure nothing is tried for so long; doubled by each further one.
    """

    def __init__(
        self,
        store: TrackingStore,
        paths: StudyPaths,
        config: StudyConfig,
        log: Callable[[str], None] = lambda _: None,
        *,
        pause_s: float = 5.0,
    ) -> None:
        self._store, self._paths, self._config = store, paths, config
        self._log, self._pause_s = log, pause_s
        self._sync: MlflowSync | None = None  # made on the thread: it brings mlflow
        self._user_error: UserError | None = None  # what MLflow's first answer was
        self._thread = threading.Thread(target=self._run, name="mlflow", daemon=True)
        self._changed = threading.Condition()  # never held while MLflow is called
        self._pending: dict[int, None] = {}  # numbers in order of arrival, each once
        self._finishing = self._closed = False
        self._connected = threading.Event()
        self._reported_error = ""  # the kind of failure that was told of and is not over

    @property
    def error(self) -> Exception | None:
        """Why MLflow is behind; None while it is not."""
        return None if self._sync is None else self._sync.error

    def note(self, number: int) -> None:
        """Trial `number` has something new; returns at once."""
        with self._changed:
            self._pending[number] = None
            self._start()
            self._changed.notify()

    def check(self, timeout_s: float = 0.0) -> None:
        """Whether MLflow's first answer, if it is there, was that the user must mend something.

        Args:
            timeout_s: how long to wait for that answer; it is asked for when a trial is noted.

        Raises:
            UserError: what must be mended: credentials, a deleted experiment, a taken name.
        """
        if self._connected.wait(timeout_s) and self._user_error is not None:
            self._close()
            raise self._user_error

    def finish(self, timeout_s: float = 60.0) -> str:
        """Copy whatever is missing of the whole study, then end the thread.

        The ids of the runs go into the records; no worker may train any more.

        Args:
            timeout_s: the longest wait; a store that fails twice in a row is given up before.

        Returns:
            What is behind and how to bring it up, in one line; empty if nothing is.
        """
        with self._changed:
            self._pending |= {trial.number: None for trial in self._paths.all_trials()}
            self._finishing = True
            self._start()
            self._changed.notify()
        self._thread.join(timeout_s)
        timed_out = self._thread.is_alive()
        if timed_out:
            self._close()
        if self._sync is not None:
            try:
                record_run_ids(self._paths, dict(self._sync.run_ids))
            except OSError as error:
                return f"the ids of MLflow's runs are not in trial.json ({error})"
        if timed_out:
            return (
                f"MLflow is behind (no end after {timeout_s:.0f} s); "
                f"{self._store.sync_command(self._paths)} brings it up"
            )
        return "" if self._sync is None else self._sync.pending_message()

    def _start(self) -> None:
        if self._thread.ident is None:
            self._thread.start()

    def _run(self) -> None:
        from harness.tracking.sync import MlflowSync  # noqa: PLC0415  # brings mlflow

        sync = self._sync = MlflowSync(self._store, self._paths, self._config, self._log)
        self._report_state(sync, sync.connect())
        self._user_error = sync.error if isinstance(sync.error, UserError) else None
        self._connected.set()
        failures = 0  # in a row, of copies that began after `finish` was called
        while not self._closed:
            number = self._next_number(sync)
            is_final = self._finishing
            succeeded = sync.copy(number)
            # What failed before, or is just failing, tells nothing of the store as it is now.
            failures = failures + 1 if is_final and not succeeded else 0
            if number == STUDY_NUMBER or failures >= MAX_FAILURES_IN_A_ROW:
                return
            if not succeeded and not is_final:
                with self._changed:
                    self._pending[number] = None  # again later, behind the others
            self._report_state(sync, succeeded)

    def _next_number(self, sync: "MlflowSync") -> int:
        """The next trial to copy; the STUDY when all are done. Pauses while MLflow fails."""
        failures = sync.failures
        with self._changed:
            if failures:
                pause_s = min(self._pause_s * 2 ** min(failures - 1, 10), MAX_PAUSE_S)
                self._changed.wait_for(lambda: self._finishing, pause_s)
            self._changed.wait_for(lambda: self._pending or self._finishing)
            if not self._pending:
                return STUDY_NUMBER
            number = next(iter(self._pending))
            del self._pending[number]
            return number

    def _report_state(self, sync: "MlflowSync", succeeded: bool) -> None:
        """One line when MLflow begins to fail, or in another way; one when all is well again."""
        error = sync.error
        kind = type(error).__name__  # the text may differ each time
        if not succeeded and kind != self._reported_error:
            self._log(f"{error}; training goes on, and what is missing is sent later")
            self._reported_error = kind
        elif succeeded and self._reported_error and not sync.pending:
            self._log("MLflow has caught up")
            self._reported_error = ""

    def _close(self) -> None:
        """The thread ends after the call it is in."""
        with self._changed:
            self._closed = self._finishing = True
            self._changed.notify()
