import subprocess
import sys
from importlib import import_module

import pytest

from harness.cli.app import COMMANDS, main

HEAVY = {"torch", "mlflow", "albumentations", "pandas", "scipy", "cv2", "optuna", "pydantic"}


@pytest.mark.parametrize("name", [name for name, (_, function, _) in COMMANDS.items() if function])
def test_list_of_commands_says_what_they_say_themselves(name: str) -> None:
    module, function, line = COMMANDS[name]
    doc = getattr(import_module(f"harness.cli.{module}"), str(function)).__doc__
    assert " ".join(doc.split("\n\n")[0].split()) == line


def test_help_imports_nothing_that_takes_long() -> None:
    code = (
        "import sys\nfrom harness.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        f"sys.exit(' '.join({HEAVY!r} & set(sys.modules)) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert all(name in done.stdout for name in COMMANDS)


def test_unknown_command_has_a_neighbour(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["rnu"])
    assert left.value.code == 2
    assert "'run'" in capsys.readouterr().err


def test_command_leaves_with_its_code_and_all_it_printed() -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "harness", *arguments]
        return subprocess.run(command, capture_output=True, text=True)

    shown = run("config")
    assert shown.returncode == 0 and "optim.lr" in shown.stdout
    wrong = run("run", "--sampler", "tpee")
    assert wrong.returncode == 2 and wrong.stderr.startswith("error: --sampler tpee")
