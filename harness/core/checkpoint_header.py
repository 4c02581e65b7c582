"""First line of a checkpoint: its epoch and the hash of what follows, read without torch."""

import json
from typing import IO, Any

from harness.core.paths import TrialPaths

_MAX_HEADER_BYTES = 1000  # bytes


def checkpoint_epoch(paths: TrialPaths) -> int:
    """The last epoch that the newest checkpoint claims to hold, without loading it; 0 if none."""
    for path in (paths.checkpoint, paths.checkpoint_previous):
        if path.is_file():
            with path.open("rb") as handle:
                header = read_checkpoint_header(handle)
            if header is not None:
                return int(header["epoch"])
    return 0


def read_checkpoint_header(handle: IO[bytes]) -> dict[str, Any] | None:
    """The first line, if it is the header of a checkpoint of this package."""
    try:
        header = json.loads(handle.readline(_MAX_HEADER_BYTES))
    except ValueError:
        return None
    has_epoch = isinstance(header, dict) and isinstance(header.get("epoch"), int)
    return header if has_epoch and isinstance(header.get("sha256"), str) else None
