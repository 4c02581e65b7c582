"""A worker is asked to stop: by its controller, or by a machine that is about to end it."""

import os
import signal
from types import FrameType


class Leaving:
    """Whether to stop at the next step.

    SIGTERM and SIGUSR1 are such a notice: a worker that trains saves its trial first and then dies
    by SIGTERM, so that the controller sees what it sees whenever a worker is pre-empted.

    Attributes:
        asked: stop at the next step, and save.
        busy: a trial is being trained; while none is, a notice ends the process at once.
    """

    def __init__(self) -> None:
        self.asked = self.busy = self._noticed = False

    def listen(self) -> None:
        """Take the signals over; called on the main thread."""
        for number in (signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, self._notice)

    def leave_if_noticed(self) -> None:
        """End this process if the machine has asked for it."""
        if self._noticed:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)

    def _notice(self, _number: int, _frame: FrameType | None) -> None:
        self._noticed = self.asked = True
        if not self.busy:
            self.leave_if_noticed()
