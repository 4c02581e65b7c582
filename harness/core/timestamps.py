"""Current UTC time as text, in the four formats that files and names of a workspace use."""

from datetime import UTC, datetime
from typing import Literal

TimestampFormat = Literal["milliseconds", "seconds", "file_name", "unique"]


def utc_timestamp(style: TimestampFormat, moment: datetime | None = None) -> str:
    """Format a time in UTC; in every format the order of texts is the order of times.

    Args:
        style: `milliseconds` for trial.json (2026-11-29T14:05:06.123+00:00: MLflow counts
            milliseconds), `seconds` for ledgers and locks (2026-11-29T14:05:06Z), `file_name` for
            a renamed file (20261129T140506Z), `unique` for the default name of a folder
            (20261129-140506-123456).
        moment: a time with a time zone; None: now.
    """
    time = (moment or datetime.now(UTC)).astimezone(UTC)
    # The formats differ for historical reasons, but files of earlier versions are compared with
    # new ones as text, so none of them may change. File names have no colon: Windows and SMB
    # shares refuse it.
    if style == "milliseconds":
        return time.isoformat(timespec="milliseconds")
    formats = {
        "seconds": "%Y-%m-%dT%H:%M:%SZ",
        "file_name": "%Y%m%dT%H%M%SZ",
        "unique": "%Y%m%d-%H%M%S-%f",  # microseconds: two runs of a script may start in one second
    }
    return f"{time:{formats[style]}}"
