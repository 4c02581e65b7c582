from pathlib import Path

import pytest

from harness.core import sqlite_file
from harness.core.errors import UserError
from harness.core.sqlite_file import (
    filesystem_type,
    is_network_filesystem,
    refuse_network_filesystem,
)

SAMPLE = r"""22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
23 22 0:21 / /proc rw - proc proc rw
40 22 0:44 / /home rw,relatime shared:1 - nfs4 server:/home rw,vers=4.2
41 40 0:45 / /home/ann/fast rw - xfs /dev/nvme0n1 rw
42 22 0:46 / /mnt/with\040space rw - fuse.sshfs ann@host: rw
43 22 0:47 / /mnt/c rw - 9p C: rw
44 22 0:48 / /tmp rw - ext4 /dev/vdb rw
45 44 0:49 / /tmp rw - tmpfs tmpfs rw
nonsense
"""


@pytest.mark.parametrize(
    ("folder", "kind", "remote"),
    [
        ("/", "ext4", False),
        ("/work", "ext4", False),
        ("/home/ann", "nfs4", True),
        ("/home/ann/fast/ws", "xfs", False),
        ("/home/ann/faster", "nfs4", True),
        ("/mnt/with space/ws", "fuse.sshfs", True),
        ("/mnt/c/Users", "9p", True),
        ("/tmp/x", "tmpfs", False),
    ],
)
def test_kind_is_that_of_the_deepest_and_last_mount(folder: str, kind: str, remote: bool) -> None:
    assert filesystem_type(Path(folder), SAMPLE) == kind
    assert is_network_filesystem(kind) is remote


def test_database_on_a_network_is_refused_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = tmp_path / "mountinfo"
    sample.write_text(f"22 1 0:1 / {tmp_path.resolve()} rw - nfs server:/x rw\n")
    monkeypatch.setattr(sqlite_file, "MOUNTS", sample)
    with pytest.raises(UserError, match=r"type nfs, .* choose a --workspace on a local disk"):
        refuse_network_filesystem(tmp_path / "optuna.db")
    monkeypatch.setattr(sqlite_file, "MOUNTS", tmp_path / "absent")
    refuse_network_filesystem(tmp_path / "optuna.db")
