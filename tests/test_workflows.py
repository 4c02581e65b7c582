"""Workflows and forms on GitHub agree with the project; actionlint checks the rest by hand."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.cli.app import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def steps(path: Path) -> list[dict[str, Any]]:
    return [step for job in load(path)["jobs"].values() for step in job["steps"]]


def test_all_workflows_are_there() -> None:
    assert [path.stem for path in WORKFLOWS] == ["check", "docs", "slow", "wheel"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned_and_rights_are_small(path: Path) -> None:
    uses = [step["uses"] for step in steps(path) if "uses" in step]
    assert uses and all(re.fullmatch(r"[\w./-]+@v\d+\.\d+\.\d+", one) for one in uses)
    assert load(path)["permissions"] == {"contents": "read"}
    assert all("timeout-minutes" in job for job in load(path)["jobs"].values())


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_commands_of_a_workflow_exist(path: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    lines = "\n".join(step.get("run", "") for step in steps(path))
    for target in re.findall(r"^make ([\w-]+)", lines, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for command in re.findall(r"^harness ([a-z][\w-]*)", lines, re.MULTILINE):
        assert command in COMMANDS


def test_every_supported_python_is_tested() -> None:
    names = [c.rpartition(" :: ")[2] for c in PROJECT["classifiers"]]
    supported = [name for name in names if re.fullmatch(r"3\.\d+", name)]
    matrix = load(ROOT / ".github/workflows/check.yml")["jobs"]["test"]["strategy"]["matrix"]
    assert matrix["python"] == supported
    assert PROJECT["requires-python"] == f">={supported[0]}"


def test_bug_form_asks_for_the_report() -> None:
    form = load(ROOT / ".github/ISSUE_TEMPLATE/bug.yml")
    field = next(part for part in form["body"] if part.get("id") == "report")
    assert "harness report-bug" in field["attributes"]["label"]
    assert field["validations"] == {"required": True} and "report-bug" in COMMANDS


def test_citation_and_changelog_name_the_version() -> None:
    citation = load(ROOT / "CITATION.cff")
    version = PROJECT["version"]
    assert (citation["version"], citation["license"]) == (version, PROJECT["license"])
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    released = re.search(r"^## (\S+) - (\d{4}-\d\d-\d\d)$", changelog, re.MULTILINE)
    assert released is not None
    assert released.groups() == (version, str(citation["date-released"]))
