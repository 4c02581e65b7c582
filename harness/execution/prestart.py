"""Start of worker processes, also of one before its trial is known, to hide the time of imports."""

import contextlib
import os
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from harness.core.processors import openmp_defaults
from harness.execution import interpreter

MODULE = "harness.training.worker.worker"

# A training step on the CPU returns its large blocks to the system and gets them again, zeroed page
# by page. These settings make glibc keep them (blocks of up to MMAP_THRESHOLD bytes, up to
# TRIM_THRESHOLD free bytes in all) and torch use large pages. Values that a user has set win.
# One arena for all threads: `malloc_trim` (`training.hardware.batch_splitting`) cannot return the
# free end of another thread's heap between trials, 43 MB for each thread that wrote a checkpoint.
ALLOCATOR_ENVIRONMENT = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(2**25),
    "MALLOC_TRIM_THRESHOLD_": str(2**31),
    "THP_MEM_ALLOC_ENABLE": "1",
}


def start_worker_process(
    module: str, environment: Mapping[str, str], stderr: IO[bytes] | int
) -> "subprocess.Popen[bytes]":
    """Start a worker process with pipes for orders and events.

    Args:
        environment: variables that override those of this process.
        stderr: file or pipe for everything that the worker prints.
    """
    own = interpreter.child_environment() | {"PYTHONUNBUFFERED": "1"} | dict(environment)
    defaults = ALLOCATOR_ENVIRONMENT | openmp_defaults(own)
    return subprocess.Popen(
        interpreter.module_command(module),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        env=defaults | own,
        start_new_session=True,  # a Ctrl-C in the terminal reaches the controller alone
    )


class PrestartedWorker:
    """Worker process that imports torch while its controller is still importing it.

    The imports take seconds, and two processes do them as fast as one. The process is handed over
    once; from then on the executor that received it must end it.

    Attributes:
        module: module that the process runs.
    """

    def __init__(self, module: str = MODULE) -> None:
        self.module = module
        self._process: subprocess.Popen[bytes] | None = start_worker_process(
            module, {}, subprocess.PIPE
        )

    def hand_over(self, log: Path) -> "tuple[subprocess.Popen[bytes], threading.Thread] | None":
        """Hand over the process, with the thread that copies its output to `log` from its start.

        Returns:
            None if it was handed over or closed before.
        """
        process, self._process = self._process, None
        if process is None:
            return None
        log_copier = threading.Thread(target=_copy_to_log, args=(process.stderr, log), daemon=True)
        log_copier.start()
        return process, log_copier

    def close(self) -> None:
        """End the process, unless it was handed over."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()


@contextmanager
def prestarted_worker(enabled: bool) -> Iterator[PrestartedWorker | None]:
    """Keep a prestarted worker for the time of the block; end it if it was not handed over."""
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
