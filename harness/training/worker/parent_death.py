"""Setup of a worker process before its heavy imports.

A file of its own, since it may import nothing but the standard library.
"""

import ctypes
import faulthandler
import resource
import signal
import sys

_SET_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of linux/prctl.h


def bind_to_parent() -> None:
    """End with the parent, and write a traceback to the log when a signal ends this process.

    On every system a worker also ends when its standard input closes. But the thread that waits for
    that needs the interpreter lock, which a call into C may hold for ever; on Linux the kernel
    kills the process in addition. Trap of prctl(2): "parent" is the thread that started the
    process, so an executor must be used from a thread that lives as long as it does.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    faulthandler.enable(all_threads=True)  # SIGABRT too: the controller ends hung workers so
    hard_limit = resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard_limit))  # a core file would be gigabytes
