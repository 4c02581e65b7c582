"""Kill operations on studies at chosen steps, and repeat them.

    python -m tests.maintenance.killing SOURCE FOLDER COMMAND HOW_MANY TEMPLATE

A step is a write to the disk or to a database, or a request to a server. For each chosen one a fork
of this process, which has imported everything and opened nothing, works on a copy of the source and
kills itself there; the next fork gives the same command and compares folder, Optuna, MLflow and the
template.
"""

import os
import random
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event

import harness
import harness.maintenance.optuna_entry
import harness.maintenance.restore
import harness.tracking.sync  # imported before any fork
from harness.core.paths import Workspace
from tests.maintenance.workspaces import assert_agreement, copy_workspace, snapshot

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
EVENTS = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate")


class Steps:
    """Counts the steps of this process, and kills it before step `last`."""

    def __init__(self, last: int | None) -> None:
        self._last, self.n = last, 0
        sys.addaudithook(self._audit)
        event.listen(Engine, "before_cursor_execute", self._execute)
        event.listen(Engine, "commit", lambda _: self._count())

    def _audit(self, name: str, values: tuple[Any, ...]) -> None:
        if name in EVENTS or name == "http.client.send" or (name == "open" and values[2] & WRITING):
            self._count()

    def _execute(self, _c: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if statement.lstrip()[:6].upper() in ("INSERT", "UPDATE", "DELETE"):
            self._count()

    def _count(self) -> None:
        self.n += 1
        if self.n == self._last:
            os.kill(os.getpid(), signal.SIGKILL)


def rename(workspace: Workspace) -> None:
    harness.rename("tiny", "renamed", workspace=workspace.root)


def delete(workspace: Workspace) -> None:
    harness.delete("tiny", workspace=workspace.root)


def archive(workspace: Workspace) -> None:
    target = workspace.root / "tiny.tar"
    if not target.exists():  # it appears whole, and is then refused
        harness.archive("tiny", target, workspace=workspace.root)


def restore(workspace: Workspace) -> None:
    harness.restore(workspace.root / "made.tar", name="again", workspace=workspace.root)


def clean(workspace: Workspace) -> None:
    harness.clean(kinds=["weights"], study="tiny", workspace=workspace.root)


COMMANDS = {function.__name__: function for function in (rename, delete, archive, restore, clean)}


def check(command: str, template: Path, workspace: Workspace) -> None:
    """Compare with what the command says it does."""
    before = snapshot(Workspace.at(template), "tiny")
    results = {"rename": "renamed", "delete": None, "restore": "again"}
    result = results.get(command, "tiny")
    assert_agreement(workspace, {"other"} | ({result} if result else set()))
    if command == "clean":
        before = {name: data for name, data in before.items() if "best/model" not in name}
    if result:
        assert snapshot(workspace, result) == before
    if command == "archive":
        harness.delete("tiny", workspace=workspace.root)
        harness.restore(workspace.root / "tiny.tar", workspace=workspace.root)
        assert snapshot(workspace, "tiny") == before
        assert not list(workspace.root.glob(".*.tmp"))


def fork(work: Callable[[], None]) -> int:
    """Exit code of a fork that does the work; negative for a signal."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def count_steps(command: str, workspace: Workspace) -> int:
    """Steps of the command, undisturbed."""
    number = workspace.root / "steps"

    def work() -> None:
        steps = Steps(None)
        COMMANDS[command](workspace)
        number.write_text(str(steps.n), encoding="utf-8")

    assert fork(work) == 0
    return int(number.read_text(encoding="utf-8"))


def main(source: Path, folder: Path, command: str, how_many: int, template: Path) -> None:
    """Kill the command at `how_many` steps, spread over all of them by a seed."""
    shutil.rmtree(folder / "whole", ignore_errors=True)
    n_steps = count_steps(command, copy_workspace(source, folder / "whole"))
    rng = random.Random(11)
    width = n_steps / how_many
    for k in range(how_many):
        last = 1 + int(k * width + rng.uniform(0, 1) * width)
        workspace = copy_workspace(source, folder / f"killed-{last}")

        def killed(workspace: Workspace = workspace, last: int = last) -> None:
            Steps(last)
            COMMANDS[command](workspace)

        def repeated(workspace: Workspace = workspace) -> None:
            COMMANDS[command](workspace)
            check(command, template, workspace)

        assert fork(killed) == -signal.SIGKILL, f"step {last} of {n_steps}"
        assert fork(repeated) == 0, f"{command} killed before step {last} of {n_steps}"
        shutil.rmtree(workspace.root)
    sys.stdout.write(f"{n_steps}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]), Path(sys.argv[5]))
