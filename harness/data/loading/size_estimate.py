"""Estimate the size of compressed images before all of them are decoded."""

import errno
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from harness.core.errors import DataError
from harness.data.splits.split_file import SplitRow

_N_SAMPLES: Final = 8


def estimate_bytes(rows: Sequence[SplitRow], compress: Callable[[SplitRow], int]) -> int | None:
    """Sum of the bytes of all rows, estimated from at most eight rows at equal distances.

    Args:
        compress: returns the bytes of a row. A row that raises DataError is left out; its problem
            is reported when all are decoded.

    Returns:
        None if all of the chosen rows raise.
    """
    step = max(1, len(rows) // _N_SAMPLES)
    sizes = []
    for row in rows[::step][:_N_SAMPLES]:
        try:
            sizes.append(compress(row))
        except DataError:
            continue
    return round(sum(sizes) / len(sizes) * len(rows)) if sizes else None


def check_disk_space(folder: Path, n_bytes: int, name: str, remedy: str) -> None:
    """Raise DataError, with ENOSPC as its cause, if the disk of a folder has less space free.

    Args:
        name: the images that are to be written.
        remedy: setting that needs less space.
    """
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if n_bytes > free:
        raise DataError(
            f"{folder}: {name} need about {n_bytes / 1e6:,.0f} MB, {free / 1e6:,.0f} MB are free; "
            f"free disk space there or {remedy}"
        ) from OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))
