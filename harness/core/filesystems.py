"""On what kind of file system a database would lie; SQLite's locks hold on local ones only."""

import re
from pathlib import Path

from harness.core.errors import UserError

MOUNTS = Path("/proc/self/mountinfo")
_NETWORK_TYPES = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "gpfs"}
    | {"beegfs", "orangefs", "pvfs2", "ocfs2", "gfs2", "virtiofs", "davfs", "ncpfs", "wekafs"}
)


def refuse_network_filesystem(database: Path) -> None:
    """Refuse to keep a SQLite database on a network or FUSE file system.

    Nothing is refused where the system does not tell (it is asked through /proc, on Linux).

    Raises:
        UserError: with the kind of file system, and what to do.
    """
    try:
        text = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return
    fs_type = filesystem_type(database.parent.resolve(), text)
    if fs_type is not None and is_network_filesystem(fs_type):
        raise UserError(
            f"{database.parent}: is on a file system of kind {fs_type}, where SQLite's locks are "
            "not "
            "to be relied on; name a database elsewhere (--storage postgresql+psycopg://…, or "
            "--storage sqlite:///FILE on a local disk), or choose a --workspace on a local disk "
            "(studies/ may be copied there)"
        )


def is_network_filesystem(fs_type: str) -> bool:
    """Whether a kind of file system is a network's or FUSE's."""
    return fs_type in _NETWORK_TYPES or fs_type.startswith("fuse")


def filesystem_type(folder: Path, mountinfo: str) -> str | None:
    """The kind of file system, e.g. ext4, that an absolute folder without links lies on.

    Args:
        mountinfo: as in /proc/self/mountinfo; of mounts on one point the last counts.

    Returns:
        None where no mount holds it.
    """
    fs_type, deepest = None, -1
    for line in mountinfo.splitlines():
        head, dash, tail = line.partition(" - ")
        fields, tail_fields = head.split(" "), tail.split(" ")
        if not dash or len(fields) < 5:
            continue
        point = Path(re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), fields[4]))
        depth = len(point.parts)
        if folder.is_relative_to(point) and depth >= deepest:
            fs_type, deepest = tail_fields[0], depth
    return fs_type
