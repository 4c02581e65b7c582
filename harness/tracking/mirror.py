"""Background thread that copies a running study into MLflow.

Training never waits for it: neither for calls to MLflow (one call to an unreachable server blocks
for minutes by default) nor for the import of mlflow, which happens on the thread too.
"""

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
    """Keeps MLflow up to date with one study while it runs.

    Args:
        store: the store.
        paths: folder of the study.
        config: definition of the study.
        log: takes one line when MLflow fails, and when it has recovered.
        pause_s: pause after a failure, doubled with each further one up to MAX_PAUSE_S.
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
        self._sync: MlflowSync | None = None  # created on the thread, as it imports mlflow
        self._user_error: UserError | None = None  # set if the first call ended with one
        self._thread = threading.Thread(target=self._run, name="mlflow", daemon=True)
        self._changed = threading.Condition()  # never held while MLflow is called
        self._pending: dict[int, None] = {}  # numbers in order of arrival, each once
        self._finishing = self._closed = False
        self._connected = threading.Event()
        self._reported_error = ""  # class name of the last reported failure, until recovery

    @property
    def error(self) -> Exception | None:
        """Error that keeps MLflow from being up to date; None if it is."""
        return None if self._sync is None else self._sync.error

    def note(self, number: int) -> None:
        """Queue a trial that has changed; returns immediately."""
        with self._changed:
            self._pending[number] = None
            self._start()
            self._changed.notify()

    def check(self, timeout_s: float = 0.0) -> None:
        """Raise the user error of the first call to MLflow, if there was one.

        Args:
            timeout_s: longest wait for that call, which starts with the first queued trial.

        Raises:
            UserError: wrong credentials, a deleted experiment, or a name of another study.
        """
        if self._connected.wait(timeout_s) and self._user_error is not None:
            self._close()
            raise self._user_error

    def finish(self, timeout_s: float = 60.0) -> str:
        """Copy everything that is still missing, then end the thread.

        Run ids are written into the trial records, so no worker may be training.

        Args:
            timeout_s: longest wait; a store that fails twice in a row is given up earlier.

        Returns:
            One line about missing data and the command that completes it; empty if complete.
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
                return f"MLflow run ids could not be written to trial.json ({error})"
        if timed_out:
            return (
                f"MLflow is not up to date (not finished after {timeout_s:.0f} s); complete it "
                f"with: {self._store.sync_command(self._paths)}"
            )
        return "" if self._sync is None else self._sync.pending_message()

    def _start(self) -> None:
        if self._thread.ident is None:
            self._thread.start()

    def _run(self) -> None:
        from harness.tracking.sync import MlflowSync  # noqa: PLC0415  # imports mlflow

        sync = self._sync = MlflowSync(self._store, self._paths, self._config, self._log)
        self._report_state(sync, sync.connect())
        self._user_error = sync.error if isinstance(sync.error, UserError) else None
        self._connected.set()
        failures = 0  # consecutive ones of copies that started after `finish` was called
        while not self._closed:
            number = self._next_number(sync)
            is_final = self._finishing
            succeeded = sync.copy(number)
            # Failures before `finish` do not count: the store may have recovered by now.
            failures = failures + 1 if is_final and not succeeded else 0
            if number == STUDY_NUMBER or failures >= MAX_FAILURES_IN_A_ROW:
                return
            if not succeeded and not is_final:
                with self._changed:
                    self._pending[number] = None  # retried after the others
            self._report_state(sync, succeeded)

    def _next_number(self, sync: "MlflowSync") -> int:
        """Next trial to copy, or STUDY_NUMBER after the last one; pauses while MLflow fails."""
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
        """Report a new kind of failure once, and the recovery once."""
        error = sync.error
        kind = type(error).__name__  # the text may differ each time
        if not succeeded and kind != self._reported_error:
            self._log(f"{error}; training continues, and missing data is sent later")
            self._reported_error = kind
        elif succeeded and self._reported_error and not sync.pending:
            self._log("MLflow has caught up")
            self._reported_error = ""

    def _close(self) -> None:
        """Let the thread end after its current call, which cannot be interrupted."""
        with self._changed:
            self._closed = self._finishing = True
            self._changed.notify()
