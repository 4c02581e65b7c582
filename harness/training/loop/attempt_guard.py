"""Guard that stops an abandoned attempt from writing into its trial.

A file of its own, as both the loop and the training's state depend on it.
"""

from harness.core.paths import TrialPaths
from harness.core.records import read_record
from harness.training.loop.errors import StaleAttemptError


class AttemptGuard:
    """Reads from trial.json which attempt may write.

    A worker is killed before its trial starts again, so this is a second line of defence: for a
    process that could not be killed, or that its controller lost.

    Args:
        attempt: number of this attempt; None: there is no record, and everything is allowed.
    """

    def __init__(self, paths: TrialPaths, attempt: int | None) -> None:
        self._path, self._attempt = paths.trial_json, attempt

    def check_current(self) -> None:
        """Raise StaleAttemptError if trial.json has another attempt, or says that it ended."""
        if self._attempt is None:
            return
        # Read at every call, without a cache: the controller may replace the record at any time. A
        # short race remains between this check and the write that follows.
        record = read_record(self._path)
        if record.attempt != self._attempt or record.state != "running":
            raise StaleAttemptError(
                f"{self._path}: attempt {record.attempt} is {record.state}; this is attempt "
                f"{self._attempt}, which must not write any more"
            )
