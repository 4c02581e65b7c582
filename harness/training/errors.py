"""What can go wrong while a network trains."""

from harness.errors import HarnessError


class DivergedError(HarnessError):
    """The loss or the weights are no longer finite numbers; going on is a waste."""
