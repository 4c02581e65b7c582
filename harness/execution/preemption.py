"""Requests to a worker to stop: from its controller, or from a machine that will end it soon."""

import os
import signal
from types import FrameType


class PreemptionHandler:
    """State of a pre-emption: whether the training must stop at the next step.

    SIGTERM and SIGUSR1 announce a pre-emption (Slurm sends either, see `--signal`). A worker that
    is training saves its trial first and then dies by SIGTERM, so that the controller sees the same
    exit code as for any other pre-empted worker.

    Attributes:
        stop_requested: stop at the next step, and save.
        is_training: a trial is being trained; otherwise a signal ends the process immediately.
    """

    def __init__(self) -> None:
        self.stop_requested = self.is_training = self._signal_received = False

    def install_handlers(self) -> None:
        """Install the signal handlers; Python allows this on the main thread alone."""
        for number in (signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, self._on_signal)

    def exit_if_preempted(self) -> None:
        """End this process if a signal has arrived."""
        if self._signal_received:
            # With the default action instead of sys.exit: the exit code is then -SIGTERM, which
            # `search.run.failures` counts as a pre-emption and not as a lost attempt.
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._signal_received = self.stop_requested = True
        if not self.is_training:
            self.exit_if_preempted()
