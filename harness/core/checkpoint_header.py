"""Read the first line of a checkpoint, its epoch and the hash of the rest, without torch.

The file is JSON on one line, then the state of the training. Tracking and the controller need the
epoch only; importing torch for it would take seconds.
"""

import json
from typing import IO, Any

from harness.core.paths import TrialPaths

_MAX_HEADER_BYTES = 1000  # a damaged file may have no line end, and would be read completely


def checkpoint_epoch(paths: TrialPaths) -> int:
    """Epoch in the header of the newest checkpoint, from 1; 0 without a readable checkpoint.

    The hash is not verified: loading does that.
    """
    # The previous file is the newest one for a moment, between the two renames of a save.
    for path in (paths.checkpoint, paths.checkpoint_previous):
        if path.is_file():
            with path.open("rb") as handle:
                header = read_checkpoint_header(handle)
            if header is not None:
                return int(header["epoch"])
    return 0


def read_checkpoint_header(handle: IO[bytes]) -> dict[str, Any] | None:
    """Header of a checkpoint of this package, with `epoch` and `sha256`; None if it has no header.

    Args:
        handle: a binary file at its start; afterwards at the start of the state.
    """
    try:
        header = json.loads(handle.readline(_MAX_HEADER_BYTES))
    except ValueError:
        return None
    has_epoch = isinstance(header, dict) and isinstance(header.get("epoch"), int)
    return header if has_epoch and isinstance(header.get("sha256"), str) else None
