"""A shipper on a thread of its own, which nobody has to wait for; not for its imports either."""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from harness.config import StudyConfig
from harness.errors import UserError
from harness.paths import StudyPaths
from harness.search.mirrored import FAILURES_IN_A_ROW, STUDY, record_runs
from harness.search.tracker import Tracker

if TYPE_CHECKING:
    from harness.search.tracking.shipper import Shipper

LONGEST_PAUSE_S = 60.0


class Mirror:
    """Keeps MLflow up with one study while it runs.

    Args:
        tracker: the store.
        paths: the study's folder.
        config: its definition.
        tell: takes one line when MLflow fails, and when it answers again.
        pause_s: after a failure nothing is tried for so long; doubled by each further one.
    """

    def __init__(
        self,
        tracker: Tracker,
        paths: StudyPaths,
        config: StudyConfig,
        tell: Callable[[str], None] = lambda _: None,
        *,
        pause_s: float = 5.0,
    ) -> None:
        self._tracker, self._paths, self._config = tracker, paths, config
        self._tell, self._pause_s = tell, pause_s
        self._shipper: Shipper | None = None  # made on the thread: it brings mlflow
        self._refusal: UserError | None = None  # what MLflow's first answer was
        self._thread = threading.Thread(target=self._serve, name="mlflow", daemon=True)
        self._changed = threading.Condition()  # never held while MLflow is called
        self._pending: dict[int, None] = {}  # numbers in order of arrival, each once
        self._last = self._left = False
        self._opened = threading.Event()
        self._said = ""  # the kind of failure that was told of and is not over

    @property
    def error(self) -> Exception | None:
        """Why MLflow is behind; None while it is not."""
        return None if self._shipper is None else self._shipper.error

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
        if self._opened.wait(timeout_s) and self._refusal is not None:
            self._leave()
            raise self._refusal

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
            self._last = True
            self._start()
            self._changed.notify()
        self._thread.join(timeout_s)
        late = self._thread.is_alive()
        if late:
            self._leave()
        if self._shipper is not None:
            try:
                record_runs(self._paths, dict(self._shipper.run_ids))
            except OSError as error:
                return f"the ids of MLflow's runs are not in trial.json ({error})"
        if late:
            return (
                f"MLflow is behind (no end after {timeout_s:.0f} s); "
                f"{self._tracker.sync_command(self._paths)} brings it up"
            )
        return "" if self._shipper is None else self._shipper.way_out()

    def _start(self) -> None:
        if self._thread.ident is None:
            self._thread.start()

    def _serve(self) -> None:
        from harness.search.tracking.shipper import Shipper  # noqa: PLC0415  # brings mlflow

        shipper = self._shipper = Shipper(self._tracker, self._paths, self._config, self._tell)
        self._say(shipper, shipper.open())
        self._refusal = shipper.error if isinstance(shipper.error, UserError) else None
        self._opened.set()
        failures = 0  # in a row, of copies that began after `finish` was called
        while not self._left:
            number = self._next(shipper)
            is_final = self._last
            worked = shipper.copy(number)
            # What failed before, or is just failing, tells nothing of the store as it is now.
            failures = failures + 1 if is_final and not worked else 0
            if number == STUDY or failures >= FAILURES_IN_A_ROW:
                return
            if not worked and not is_final:
                with self._changed:
                    self._pending[number] = None  # again later, behind the others
            self._say(shipper, worked)

    def _next(self, shipper: "Shipper") -> int:
        """The next trial to copy; the STUDY when all are done. Pauses while MLflow fails."""
        failures = shipper.failures
        with self._changed:
            if failures:
                pause_s = min(self._pause_s * 2 ** min(failures - 1, 10), LONGEST_PAUSE_S)
                self._changed.wait_for(lambda: self._last, pause_s)
            self._changed.wait_for(lambda: self._pending or self._last)
            if not self._pending:
                return STUDY
            number = next(iter(self._pending))
            del self._pending[number]
            return number

    def _say(self, shipper: "Shipper", worked: bool) -> None:
        """One line when MLflow begins to fail, or in another way; one when all is well again."""
        error = shipper.error
        kind = type(error).__name__  # the text may differ each time
        if not worked and kind != self._said:
            self._tell(f"{error}; training goes on, and what is missing is sent later")
            self._said = kind
        elif worked and self._said and not shipper.behind:
            self._tell("MLflow has caught up")
            self._said = ""

    def _leave(self) -> None:
        """The thread ends after the call it is in."""
        with self._changed:
            self._left = self._last = True
            self._changed.notify()
