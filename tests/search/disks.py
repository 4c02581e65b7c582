"""Small disks that can be filled to the last byte."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def mounted(disk: Path, size: str) -> Iterator[Path]:
    """A disk of that size, e.g. 3m; skips the test where none can be mounted."""
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)]
    try:
        done = subprocess.run(command, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if done.returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(disk: Path) -> Path:
    """Use up what is left, to the last byte."""
    ballast = disk / "ballast"
    with ballast.open("ab", buffering=0) as handle:
        for size in (65536, 4096, 1):
            try:
                while handle.write(bytes(size)) == size:
                    pass
            except OSError:
                continue  # no room for so much at once
    return ballast
