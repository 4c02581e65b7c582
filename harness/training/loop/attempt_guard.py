"""What keeps an attempt that has been given up from writing into the trial of its successor."""

from harness.core.paths import TrialPaths
from harness.core.records import read_record
from harness.training.loop.errors import StaleAttemptError


class AttemptGuard:
    """Asks trial.json which attempt may write.

    A worker is killed before its trial is begun again, so this is the second line: for a process
    that could not be killed, or whose controller lost it.

    Args:
        attempt: ours; None: there is no record to ask, and everything is allowed.
    """

    def __init__(self, paths: TrialPaths, attempt: int | None) -> None:
        self._path, self._attempt = paths.trial_json, attempt

    def check_current(self) -> None:
        """Raises StaleAttemptError when trial.json names another attempt than ours, or an end."""
        if self._attempt is None:
            return
        record = read_record(self._path)
        if record.attempt != self._attempt or record.state != "running":
            raise StaleAttemptError(
                f"{self._path}: attempt {record.attempt} is {record.state}; this was attempt "
                f"{self._attempt}, and it writes no more"
            )
