"""What tests of whole studies start their workers with: see `tests.execution.zygote`."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.execution.zygote import SOCKET


@contextmanager
def forking(folder: Path, **environment: str) -> Iterator[str]:
    """The module that an executor is to start; `environment` is that of the workers."""
    path = str(folder / "zygote")
    root = str(Path(__file__).resolve().parents[2])
    server = ["tests.execution.zygote", path, "tests.execution.faulty_worker"]
    with (
        pytest.MonkeyPatch.context() as patch,
        subprocess.Popen(
            [sys.executable, "-m", *server],
            env=os.environ | {"PYTHONPATH": root} | environment,
            stdout=subprocess.PIPE,
        ) as zygote,
    ):
        assert zygote.stdout is not None and zygote.stdout.readline() == b"ready\n"
        patch.setenv("PYTHONPATH", root)
        patch.setenv(SOCKET, path)
        try:
            yield "tests.execution.zygote"
        finally:
            zygote.kill()
