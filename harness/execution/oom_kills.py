"""Count of the processes that the kernel has killed for lack of memory, in our own group."""

from pathlib import Path

_OWN_CGROUP = Path("/proc/self/cgroup")
_CGROUP_MOUNT = Path("/sys/fs/cgroup")


def count_oom_kills(
    own_cgroup: Path = _OWN_CGROUP, cgroup_mount: Path = _CGROUP_MOUNT
) -> int | None:
    """Read the kernel's count of processes killed for memory; None if it is not available.

    Args:
        own_cgroup: file that lists the groups of a process, see cgroups(7).
        cgroup_mount: folder where the hierarchy of groups is mounted.
    """
    try:
        lines = own_cgroup.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":  # version 2
            # Inside a container the path is that of the host, and the mount is the group itself, so
            # the second candidate is the right one there.
            files = [
                cgroup_mount / path.lstrip("/") / "memory.events",
                cgroup_mount / "memory.events",
            ]
        elif "memory" in controllers.split(","):
            mount = cgroup_mount / "memory"
            files = [mount / path.lstrip("/") / "memory.oom_control", mount / "memory.oom_control"]
        else:
            continue
        for file in files:
            count = _read_oom_kills(file)
            if count is not None:
                return count
    return None


def _read_oom_kills(file: Path) -> int | None:
    try:
        words = file.read_text(encoding="ascii").split()
    except OSError:
        return None
    pairs = dict(zip(words[::2], words[1::2], strict=False))
    return int(pairs["oom_kill"]) if "oom_kill" in pairs else None
