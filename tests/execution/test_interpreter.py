"""No Python that we start imports what happens to lie in the current folder."""

import json
import random
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import harness
from harness.cli import ui
from harness.execution.prestart import MODULE, start_worker_process
from tests.execution.test_local_executor import ROOT

PROBE = "tests.execution.import_probe"
SHADOWS = ("random", "select", "statistics", "timm", "torch", "typing", "json", "runpy")


@pytest.fixture
def littered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with modules named as others are; they end who imports them."""
    folder = tmp_path / "a b:c"
    for name in ("harness/__init__", *SHADOWS):
        path = folder / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'raise SystemExit("{name} was imported")\n', encoding="utf-8")
    monkeypatch.chdir(folder)
    return folder


def probed(**environment: str) -> dict[str, Any]:
    process = start_worker_process(PROBE, environment, subprocess.PIPE)
    printed, errors = process.communicate()
    assert process.returncode == 0, errors.decode()
    return dict(json.loads(printed))


def test_modules_in_the_current_folder_are_not_imported(littered: Path) -> None:
    found = probed()
    assert found["harness"] == harness.__file__
    assert found["random"] == random.__file__
    assert found["statistics"] == statistics.__file__
    assert str(littered) not in str(found["select"])
    assert found["helper"] == "not found"
    assert found["safe"] and found["child is safe"]


def test_what_the_parent_can_import_comes_last(
    littered: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for a script of the user's: its folder is the first that its Python looks into."""
    (littered / "helper.py").write_text("", encoding="utf-8")
    for first in (str(littered), ""):
        with monkeypatch.context() as patch:
            patch.setattr(sys, "path", [first, *sys.path])
            found = probed()
        assert found["helper"] == str(littered / "helper.py")
        assert found["random"] == random.__file__
        assert found["harness"] == harness.__file__


@pytest.mark.usefixtures("littered")
def test_user_s_own_setting_of_safe_path_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("", "1"):
        monkeypatch.setenv("PYTHONSAFEPATH", value)
        assert probed()["random"] == random.__file__


def test_worker_finds_the_package_of_its_controller_without_pythonpath(
    littered: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setattr(sys, "path", [*sys.path, str(ROOT)])
    assert probed()["harness"] == harness.__file__
    monkeypatch.setenv("PYTHONPATH", str(littered / "other"))
    assert probed()["harness"] == harness.__file__


@pytest.mark.usefixtures("littered")
def test_worker_starts_in_such_a_folder() -> None:
    process = start_worker_process(MODULE, {}, subprocess.PIPE)
    printed, errors = process.communicate()  # its input ends at once, and so does it
    assert (process.returncode, printed, errors) == (0, b"", b"")


def test_python_m_harness_prefers_what_is_installed(
    littered: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("harness/__init__.py", "runpy.py", "typing.py"):
        (littered / name).unlink()  # the interpreter has imported these before us
    (littered / "harness").rmdir()
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    command = [sys.executable, "-m", "harness", "config", "optim.lr"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "optim.lr" in done.stdout


def test_mlflow_s_pages_import_nothing_of_the_workspace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[tuple[list[str], dict[str, str]]] = []

    class Server:
        def __init__(self, command: list[str], *, cwd: Path, env: dict[str, str]) -> None:
            started.append((command, env))

        def __enter__(self) -> "Server":
            return self

        def __exit__(self, *_: object) -> None: ...

        def wait(self) -> int:
            return 0

    monkeypatch.setattr(ui.subprocess, "Popen", Server)
    monkeypatch.setattr(ui, "relocate_artifacts", lambda *_: None)  # the file is empty
    (tmp_path / "mlflow.db").touch()
    ui.ui(workspace=tmp_path)
    ((command, environment),) = started
    assert command[:4] == [sys.executable, "-P", "-m", "mlflow"]
    assert environment["PYTHONSAFEPATH"] == "1"
