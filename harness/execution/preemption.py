"""A worker is asked to stop: by its controller, or by a machine that is about to end it."""

import os
import signal
from types import FrameType


class PreemptionHandler:
    """Whether to stop at the next step.

    SIGTERM and SIGUSR1 are such a notice: a worker that trains saves its trial first and then dies
    by SIGTERM, so that the controller sees what it sees whenever a worker is pre-empted.

    Attributes:
        stop_requested: stop at the next step, and save.
        is_training: a trial is being trained; while none is, a notice ends the process at once.
    """

    def __init__(self) -> None:
        self.stop_requested = self.is_training = self._signal_received = False

    def install_handlers(self) -> None:
        """Take the signals over; called on the main thread."""
        for number in (signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, self._on_signal)

    def exit_if_preempted(self) -> None:
        """End this process if the machine has asked for it."""
        if self._signal_received:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._signal_received = self.stop_requested = True
        if not self.is_training:
            self.exit_if_preempted()
