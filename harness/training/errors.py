"""What can go wrong while a network trains."""

from harness.errors import HarnessError


class HaltedError(HarnessError):
    """Training was asked to stop; it can be continued from the step it came to."""


class DivergedError(HarnessError):
    """The loss or the weights are no longer finite numbers; going on is a waste."""
