"""The hooks of .pre-commit-config.yaml need no network, and find what they are for."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
CHECK = ROOT / ".ci" / "check_files.py"


def run_check(path: Path, *options: str) -> tuple[int, str]:
    command = [sys.executable, str(CHECK), *options, str(path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    return ended.returncode, ended.stdout


def test_every_hook_is_local_and_runs_from_the_environment() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))
    assert [repository["repo"] for repository in config["repos"]] == ["local"]
    hooks = config["repos"][0]["hooks"]
    expected = ["ruff-check", "ruff-format", "mypy", "end-of-file", "large-files"]
    assert [hook["id"] for hook in hooks] == expected
    assert all(hook["entry"].startswith(".venv/bin/") for hook in hooks)


@pytest.mark.parametrize(
    ("content", "code"), [(b"a\n", 0), (b"", 0), (b"a", 1), (b"a\n\n", 1), (b"\n\n", 1)]
)
def test_text_file_must_end_with_exactly_one_newline(
    content: bytes, code: int, tmp_path: Path
) -> None:
    path = tmp_path / "page.md"
    path.write_bytes(content)
    message = f"{path}: must end with exactly one newline\n" if code else ""
    assert run_check(path, "--end-of-file") == (code, message)


@pytest.mark.parametrize(("size", "code"), [(500_000, 0), (500_001, 1)])
def test_large_file_is_refused_with_its_size(size: int, code: int, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"0" * size)
    message = (
        f"{path}: 500 kB, and the limit is 500 kB; models, caches and databases stay out of git\n"
    )
    assert run_check(path, "--max-kb", "500") == (code, message if code else "")
