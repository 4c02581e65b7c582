"""Number of processors that this process may use, and the defaults of OpenMP that follow from it.

A container, Slurm or taskset may withhold most of a machine's processors. `os.cpu_count` and
OpenMP, which torch uses, do not see the quota of a container: a process limited to one of 64
processors starts 64 threads, which then wait for each other most of the time.
"""

import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

PROC_CGROUP = Path("/proc/self/cgroup")
CGROUP_ROOT = Path("/sys/fs/cgroup")
# Turns of GCC's OpenMP that a thread waits actively for the others before it sleeps; the default is
# some 300,000 where there are as many threads as processors. Beside other programs on the same
# processors a thread then waits for one that is not running. benchmarks/busy_machine.py: 1.6
# times as fast there, 0.99 on an idle machine. OMP_WAIT_POLICY=PASSIVE, which means 0, costs a
# sixth on an idle machine. Sums do not change, as they do with the number of threads.
SPIN_COUNT = 3000


def available_processors() -> int:
    """Number of processors that this process may use, rounded up; at least 1.

    The smallest of the processors of its affinity and the quotas of its control groups.
    """
    return max(1, min([_n_affine(), *(math.ceil(quota) for quota in _quotas())]))


def available_threads() -> int:
    """Number of threads for this process: OMP_NUM_THREADS if workers share cores, else all."""
    omp_threads = os.environ.get("OMP_NUM_THREADS", "")
    if omp_threads.isdecimal() and int(omp_threads) > 0:
        return int(omp_threads)
    return available_processors()


def openmp_defaults(environment: Mapping[str, str]) -> dict[str, str]:
    """Variables that OpenMP reads when torch is imported; those that are set already are left out.

    The number of threads is among them only where a quota limits it: otherwise torch's own choice,
    one for each core without hyper-threads, is better.
    """
    defaults = {}
    if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & environment.keys():
        defaults["GOMP_SPINCOUNT"] = str(SPIN_COUNT)
    n_processors = available_processors()
    if "OMP_NUM_THREADS" not in environment and n_processors < _n_affine():
        defaults["OMP_NUM_THREADS"] = str(n_processors)
    return defaults


def _n_affine() -> int:
    """Number of processors of this process's affinity; all of the machine's on macOS."""
    has_affinity = hasattr(os, "sched_getaffinity")
    return len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1


def _quotas() -> Iterator[float]:
    """Quotas of the control groups of this process and of the groups above, in processors."""
    for folder in _cgroup_folders():
        for read in (_read_quota, _read_quota_v1):
            try:
                quota = read(folder)
            except (OSError, ValueError):  # another version, or no quota
                continue
            if quota > 0:
                yield quota


def _read_quota(folder: Path) -> float:
    limit, period = (folder / "cpu.max").read_text(encoding="ascii").split()
    return int(limit) / int(period)  # "max" is no number: ValueError


def _read_quota_v1(folder: Path) -> float:
    limit = int((folder / "cpu.cfs_quota_us").read_text(encoding="ascii"))  # -1: none
    return limit / int((folder / "cpu.cfs_period_us").read_text(encoding="ascii"))


def _cgroup_folders() -> Iterator[Path]:
    """Folders of the control groups of this process that limit processors, and those above."""
    try:
        lines = PROC_CGROUP.read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, name = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = CGROUP_ROOT / controllers if controllers else CGROUP_ROOT
        group = PurePosixPath(name)
        # In a container the name may be that of the host; the container's own group is the root.
        for above in (group, *group.parents):
            yield mount / above.relative_to("/")
