"""What a worker process sets up before it imports anything heavy; the standard library alone."""

import ctypes
import faulthandler
import resource
import signal
import sys

_SET_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of linux/prctl.h


def bind_to_parent() -> None:
    """End with the parent, and leave a traceback in the log when a signal ends this process.

    A worker also ends when its standard input closes, on every system. But the thread that waits
    for that needs the interpreter, which a busy call into C may hold for ever; on Linux the kernel
    kills it. (The kernel means the thread that started the process, so an executor has to be used
    from a thread that lives as long as it does.)
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    faulthandler.enable(all_threads=True)  # SIGABRT too: it is how a silent worker is ended
    hard_limit = resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard_limit))  # gigabytes that nobody asked for
