"""How often the kernel has killed for want of memory, in the control group of this process."""

from pathlib import Path

_OWN_GROUP = Path("/proc/self/cgroup")
_GROUPS = Path("/sys/fs/cgroup")


def oom_kills(own_group: Path = _OWN_GROUP, groups: Path = _GROUPS) -> int | None:
    """The kernel's count of processes killed for memory; None where it does not tell.

    Args:
        own_group: which groups a process is in, as in cgroups(7).
        groups: where their hierarchy is mounted.
    """
    try:
        lines = own_group.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":  # version 2
            # Inside a container the path is that of the host, and the mount is the group itself.
            files = [groups / path.lstrip("/") / "memory.events", groups / "memory.events"]
        elif "memory" in controllers.split(","):
            mount = groups / "memory"
            files = [mount / path.lstrip("/") / "memory.oom_control", mount / "memory.oom_control"]
        else:
            continue
        for file in files:
            count = _count(file)
            if count is not None:
                return count
    return None


def _count(file: Path) -> int | None:
    try:
        words = file.read_text(encoding="ascii").split()
    except OSError:
        return None
    pairs = dict(zip(words[::2], words[1::2], strict=False))
    return int(pairs["oom_kill"]) if "oom_kill" in pairs else None
