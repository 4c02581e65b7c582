"""A worker process that is started before anybody knows what it will train."""

import contextlib
import os
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from harness.execution import interpreter

MODULE = "harness.training.worker.worker"

# A training step on the CPU hands its large blocks back to the system, and gets them anew, zeroed
# page by page. The C library is told to keep them (blocks of up to so many bytes, and so many that
# are free), torch to use large pages. Where users have set these, theirs count.
# One heap for all threads: what is free at the end of another one cannot be given back between
# trials (`harness.training.hardware.batch_splitting`), 43 MB for each
# thread that ever wrote a checkpoint.
ALLOCATOR_ENVIRONMENT = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(2**25),
    "MALLOC_TRIM_THRESHOLD_": str(2**31),
    "THP_MEM_ALLOC_ENABLE": "1",
}


def start_worker_process(
    module: str, environment: Mapping[str, str], stderr: IO[bytes] | int
) -> "subprocess.Popen[bytes]":
    """A worker process with pipes for orders and events; `environment` is laid over ours.

    Neither it nor a Python that it starts looks for modules in the current folder.
    """
    defaults = ALLOCATOR_ENVIRONMENT | interpreter.child_environment() | {"PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        interpreter.module_command(module),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        env=defaults | dict(environment),
        start_new_session=True,  # a Ctrl-C in the terminal reaches the controller alone
    )


class PrestartedWorker:
    """A worker that imports torch while its controller still does so itself.

    The imports take seconds, and two processes do them as fast as one. It is taken once; from then
    on whoever took it ends it.

    Attributes:
        module: what it runs.
    """

    def __init__(self, module: str = MODULE) -> None:
        self.module = module
        self._process: subprocess.Popen[bytes] | None = start_worker_process(
            module, {}, subprocess.PIPE
        )

    def hand_over(self, log: Path) -> "tuple[subprocess.Popen[bytes], threading.Thread] | None":
        """The process, and the thread that appends to `log` what it prints and has printed."""
        process, self._process = self._process, None
        if process is None:
            return None
        log_copier = threading.Thread(target=_copy_to_log, args=(process.stderr, log), daemon=True)
        log_copier.start()
        return process, log_copier

    def close(self) -> None:
        """End the process, unless it was taken."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()


@contextmanager
def prestarted_worker(enabled: bool) -> Iterator[PrestartedWorker | None]:
    """A worker that is there while this lasts, and is ended if nobody took it."""
    worker = PrestartedWorker() if enabled else None
    try:
        yield worker
    finally:
        if worker is not None:
            worker.close()


def _copy_to_log(stderr: IO[bytes], log: Path) -> None:
    with stderr, contextlib.suppress(OSError), log.open("ab", buffering=0) as handle:
        while chunk := os.read(stderr.fileno(), 65536):
            with contextlib.suppress(OSError):  # a full disk must not stop the worker's prints
                handle.write(chunk)
