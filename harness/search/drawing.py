"""The next trial to train: one that was left running, or a new one."""

from collections.abc import Container

import optuna
from optuna.trial import TrialState

from harness.search.judging import Judge
from harness.search.ledger import Ledger
from harness.search.trials import Running, TrialDesk


class Draws:
    """Draws new trials and adopts old ones, waiting where the disk is full.

    Args:
        study: its Optuna study.
        desk: which writes trials down.
        ledger: which waits.
        judge: whose pruner some samplers ask.
    """

    def __init__(self, study: optuna.Study, desk: TrialDesk, ledger: Ledger, judge: Judge) -> None:
        self._study, self._desk, self._ledger, self._judge = study, desk, ledger, judge
        self._half_drawn = False

    def left_running(self, known: Container[int] = ()) -> list[int]:
        """Numbers of the trials that run for Optuna, and are none of these."""
        rows = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return [row.number for row in rows if row.number not in known]

    def new(self, known: Container[int]) -> Running:
        """A new trial, beside those that are trained already."""
        self._judge.expect_drawing()
        return self._ledger.patiently(lambda: self._draw(known))

    def adopt(self, number: int) -> Running | None:
        """A trial that was left running; None: it had ended, and Optuna was not told in time."""
        self._judge.expect_drawing()
        running = self._ledger.patiently(lambda: self._desk.adopt(number))
        if running.record.state == "running":
            return running
        self._ledger.tell(running.record)
        return None

    def _draw(self, known: Container[int]) -> Running:
        """A new trial, or the one whose drawing a full disk has interrupted."""
        half = self.left_running(known) if self._half_drawn else []
        self._half_drawn = True
        running = self._desk.adopt(half[0]) if half else self._desk.draw()
        self._half_drawn = False
        return running
