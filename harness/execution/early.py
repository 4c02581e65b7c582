"""A worker process that is started before anybody knows what it will train."""

import contextlib
import os
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from harness.execution import boot

MODULE = "harness.execution.worker"

# A training step on the CPU hands its large blocks back to the system, and gets them anew, zeroed
# page by page. The C library is told to keep them (blocks of up to so many bytes, and so many that
# are free), torch to use large pages. Where users have set these, theirs count.
# One heap for all threads: what is free at the end of another one cannot be given back between
# trials (`harness.training.memory`), 43 MB for each thread that ever wrote a checkpoint.
MEMORY = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(2**25),
    "MALLOC_TRIM_THRESHOLD_": str(2**31),
    "THP_MEM_ALLOC_ENABLE": "1",
}


def start_process(
    module: str, environment: Mapping[str, str], stderr: IO[bytes] | int
) -> "subprocess.Popen[bytes]":
    """A worker process with pipes for orders and events; `environment` is laid over ours.

    Neither it nor a Python that it starts looks for modules in the current folder.
    """
    ours = MEMORY | boot.environment() | {"PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        boot.command(module),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        env=ours | dict(environment),
        start_new_session=True,  # a Ctrl-C in the terminal reaches the controller alone
    )


class Early:
    """A worker that imports torch while its controller still does so itself.

    The imports take seconds, and two processes do them as fast as one. It is taken once; from then
    on whoever took it ends it.

    Attributes:
        module: what it runs.
    """

    def __init__(self, module: str = MODULE) -> None:
        self.module = module
        self._process: subprocess.Popen[bytes] | None = start_process(module, {}, subprocess.PIPE)

    def take(self, log: Path) -> "tuple[subprocess.Popen[bytes], threading.Thread] | None":
        """The process, and the thread that appends to `log` what it prints and has printed."""
        process, self._process = self._process, None
        if process is None:
            return None
        copier = threading.Thread(target=_copy, args=(process.stderr, log), daemon=True)
        copier.start()
        return process, copier

    def close(self) -> None:
        """End the process, unless it was taken."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()


@contextmanager
def early_worker(wanted: bool) -> Iterator[Early | None]:
    """A worker that is there while this lasts, and is ended if nobody took it."""
    early = Early() if wanted else None
    try:
        yield early
    finally:
        if early is not None:
            early.close()


def _copy(printed: IO[bytes], log: Path) -> None:
    with printed, contextlib.suppress(OSError), log.open("ab", buffering=0) as handle:
        while chunk := os.read(printed.fileno(), 65536):
            with contextlib.suppress(OSError):  # a full disk must not stop the worker's prints
                handle.write(chunk)
