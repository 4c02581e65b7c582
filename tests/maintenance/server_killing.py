"""Kill operations on a study whose indexes are on servers, and repeat them.

    python -m tests.maintenance.server_killing WORKSPACE HOW_MANY STORAGE URI

A server's contents cannot be copied, so each operation is undone before the next kill.
"""

import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import harness
from harness.core.paths import Workspace
from harness.maintenance.indexes import IndexOptions
from tests.maintenance.killing import Steps, fork
from tests.maintenance.workspaces import assert_agreement, make_workspace, snapshot

ARCHIVE = "made.tar"


class Operation:
    """An operation on `tiny`, its opposite, and the name of the study after it (None: deleted)."""

    def __init__(self, workspace: Workspace, options: IndexOptions) -> None:
        self._workspace = workspace
        self._archive = workspace.root / ARCHIVE
        self._where = {
            "storage": options.storage,
            "tracking_uri": options.tracking_uri,
            "workspace": str(workspace.root),
        }

    def rename(self, old: str = "tiny", new: str = "renamed") -> None:
        harness.rename(old, new, **self._where)

    def rename_back(self) -> None:
        self.rename("renamed", "tiny")

    def delete(self) -> None:
        harness.delete("tiny", **self._where)

    def restore(self) -> None:
        harness.restore(self._archive, **self._where)


def main(root: Path, how_many: int, options: IndexOptions) -> None:
    """Kill each operation at `how_many` steps, spread over all of them by a seed."""
    assert fork(lambda: _prepare(root, options)) == 0
    workspace = Workspace.at(root)
    operation, before = Operation(workspace, options), snapshot(workspace, "tiny")
    rng = random.Random(11)
    for work, undo, after in (
        (operation.rename, operation.rename_back, "renamed"),
        (operation.delete, operation.restore, None),
        (operation.restore, operation.delete, "tiny"),
    ):
        assert fork(operation.delete) == 0 if work == operation.restore else True
        n_steps = _count_steps(work, workspace)
        assert fork(undo) == 0
        width = n_steps / how_many
        for k in range(how_many):
            last = 1 + int(k * width + rng.uniform(0, 1) * width)
            where = f"{work.__name__} killed before step {last} of {n_steps}"

            def killed(work: Callable[[], None] = work, last: int = last) -> None:
                Steps(last)
                work()

            def repeated(work: Callable[[], None] = work, after: str | None = after) -> None:
                work()
                assert_agreement(workspace, {"other"} | ({after} if after else set()), options)
                assert after is None or snapshot(workspace, after) == before

            assert fork(killed) == -signal.SIGKILL, where
            assert fork(repeated) == 0, where
            assert fork(undo) == 0, where
        if work == operation.restore:
            assert fork(operation.restore) == 0
        sys.stdout.write(f"{work.__name__} {n_steps}\n")


def _prepare(root: Path, options: IndexOptions) -> None:
    make_workspace(root, options)
    harness.archive("tiny", root / ARCHIVE, workspace=root)


def _count_steps(work: Callable[[], None], workspace: Workspace) -> int:
    number = workspace.root / "steps"

    def counted() -> None:
        steps = Steps(None)
        work()
        number.write_text(str(steps.n), encoding="utf-8")

    assert fork(counted) == 0
    return int(number.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), IndexOptions(sys.argv[3], sys.argv[4]))
