"""What README and docs show can be pasted: commands with their options, and Python."""

import ast
import os
import re
import shlex
import subprocess
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer

import harness
from harness.cli.app import COMMANDS, build_app

ROOT = Path(__file__).resolve().parents[1]
PAGES = [*sorted(ROOT.glob("docs/**/*.md")), ROOT / "README.md", ROOT / "studies" / "README.md"]
PAGES += sorted(ROOT.glob("search_spaces/*.yaml"))


def fences(text: str, *languages: str) -> list[tuple[str, str]]:
    """Language and content of each fenced block; of all languages if none is given."""
    found = re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [(name, block) for name, block in found if not languages or name in languages]


def commands() -> list[tuple[str, list[str]]]:
    """Every `harness NAME …` of a code line, a table or a sentence, with its page."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        lines = re.findall(r"^    (harness [a-z][^#\n]*)", text, re.MULTILINE)
        lines += re.findall(r"`(harness [a-z][^`\n]*)`", text)
        for _, block in fences(text, "bash"):
            lines += re.findall(r"^(harness [a-z][^#\n]*)", block, re.MULTILINE)
        lines += re.findall(r"\?\s+(harness run [^\n]*)", text) if page.suffix == ".yaml" else []
        found += [(page.name, shlex.split(line.replace("…", ""))[1:]) for line in lines]
    return found


def options_of(words: list[str]) -> set[str]:
    """Every option of the command that the words begin with, of a group's command too."""
    command: Any = typer.main.get_command(build_app(words[0])).commands[words[0]]  # type: ignore[attr-defined]
    for word in words[1:2]:
        command = getattr(command, "commands", {}).get(word, command)
    return {name for one in command.params for name in (*one.opts, *one.secondary_opts)}


@pytest.mark.parametrize(
    ("page", "words"), commands(), ids=[f"{page}-{' '.join(w)[:50]}" for page, w in commands()]
)
def test_documented_command_exists_with_its_options(page: str, words: list[str]) -> None:
    assert words[0] in COMMANDS, page
    # A word with spaces is a value, such as that of --sbatch.
    options = {word.partition("=")[0] for word in words if re.fullmatch(r"--[a-z]\S*", word)}
    assert options <= options_of(words) | {"--help", "--debug"}, page


def test_commands_are_found_on_every_kind_of_page() -> None:
    assert {"README.md", "spaces.md", "studies.md", "unetpp.yaml"} <= {p for p, _ in commands()}
    assert len(commands()) > 60


# The languages that tests read; `text` marks output, formulas and folders.
LANGUAGES = {"python", "yaml", "bash", "csv", "toml", "text"}
# First words of a line of commands.
PROGRAMS = ("harness", "make", "pip", "python", "mlflow", "MLFLOW_TRACKING_URI", ".venv/bin/")
# Their formulas and outputs are indented without a mark.
UNMARKED = {"figures.md", "studies.md", "training.md"}


@pytest.mark.parametrize("page", [page for page in PAGES if page.suffix == ".md"])
def test_every_block_is_read_by_a_test_or_marked_as_text(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert {language for language, _ in fences(text)} <= LANGUAGES
    if page.name in UNMARKED:
        return
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL).replace("\\\n", " ")
    indented = re.findall(r"(?:\A|^\n)((?:    .*\n)+)", prose, re.MULTILINE)
    lines = [line.strip() for block in indented for line in block.splitlines()]
    assert [line for line in lines if not line.startswith(PROGRAMS)] == []


def shell_blocks() -> list[tuple[str, str]]:
    return [
        (page.name, block.removeprefix("%%bash\n"))
        for page in PAGES
        for _, block in fences(page.read_text(encoding="utf-8"), "bash")
    ]


@pytest.mark.parametrize(("page", "block"), shell_blocks())
def test_documented_shell_lines_can_be_parsed(page: str, block: str) -> None:
    done = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), page


def blocks() -> list[tuple[str, str]]:
    return [
        (page.name, block)
        for page in PAGES
        for block in re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.M | re.S)
    ]


@pytest.mark.parametrize(("page", "block"), blocks())
def test_documented_python_imports_what_it_names(page: str, block: str) -> None:
    tree = ast.parse(block)
    imported = {
        alias.asname or alias.name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.value.id == "harness":
                assert "harness" in imported, page
                assert node.attr in harness.__all__, f"{page}: harness.{node.attr}"
            assert node.value.id not in {"np", "torch", "cv2", "smp"} - imported, page


SCRIPT = re.compile(r"python (?:-m )?((?:analysis|benchmarks)[./]\w+)(?:\.py)?([^`\n]*)")


@pytest.mark.parametrize("page", [page for page in PAGES if page.suffix == ".md"])
def test_documented_scripts_take_their_options(page: Path) -> None:
    for script, rest in SCRIPT.findall(page.read_text(encoding="utf-8")):
        source = (ROOT / f"{script.replace('.', '/')}.py").read_text(encoding="utf-8")
        for option in re.findall(r"--[a-z-]+", rest):
            assert f'"{option}"' in source, f"{script} has no {option}"


@pytest.mark.parametrize("script", sorted(ROOT.glob("analysis/*.py")), ids=lambda path: path.name)
def test_scripts_that_are_said_to_write_a_page_take_out(
    script: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        import_module(f"analysis.{script.stem}").main(["--help"])
    assert left.value.code == 0
    assert ("--out" in capsys.readouterr().out) == (
        script.stem not in ("rank_trials", "seeds_or_configurations")
    )


def package_folders() -> list[str]:
    """Every folder of the package that holds a file, such as `harness/data/files`."""
    folders = ["harness"]
    for folder, names, _ in os.walk(ROOT / "harness"):  # links are listed, not followed
        paths = [Path(folder, name) for name in names if name != "__pycache__"]
        names[:] = [path.name for path in paths]
        filled = [path for path in paths if any(path.glob("*.*"))]
        folders += [path.relative_to(ROOT).as_posix() for path in filled]
    return sorted(folders)


def folders_of_tree(tree: str) -> list[str]:
    """The folders that a tree names, which is indented by two spaces for each level."""
    folders: list[str] = []
    parents: list[str] = []
    for line in tree.splitlines():
        name = line.split()[0].rstrip("/")
        level = (len(line) - len(line.lstrip())) // 2
        parents[level:] = [name]
        folders.append("/".join(parents))
    return folders


def test_architecture_names_every_folder_of_the_package_and_no_other() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    (tree,) = re.findall(r"^```text\n(.*?)^```", page, re.M | re.S)
    assert sorted(folders_of_tree(tree)) == package_folders()


MARKDOWN = [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"]


@pytest.mark.parametrize("page", [page for page in MARKDOWN if page.suffix == ".md"])
def test_links_and_paths_of_a_page_lead_to_files(page: Path) -> None:
    text = page.read_text("utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text) if "://" not in link]
    missing = [link for link in links if not (page.parent / link).exists()]
    paths = re.findall(r"`((?:harness|tests|analysis|benchmarks)/[\w/.-]+)`", text)
    missing += [path for path in paths if not (ROOT / path).exists()]
    assert not missing


def test_statistics_page_names_functions_that_exist() -> None:
    folder = ROOT / "harness" / "evaluation" / "statistics"
    text = (ROOT / "docs" / "statistics.md").read_text("utf-8")
    names = re.findall(r"`([a-z_]+)\.([a-z_]+)`", text)
    assert len(names) > 10
    for module, function in names:
        source = (folder / f"{module}.py").read_text("utf-8")
        assert f"def {function}(" in source, f"{module}.{function}"


def test_lines_of_the_statistics_page_are_short() -> None:
    lines = (ROOT / "docs" / "statistics.md").read_text("utf-8").splitlines()
    assert max(map(len, lines)) <= 120
