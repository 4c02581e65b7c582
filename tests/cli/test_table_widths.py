"""The tables of the commands at three widths: what is decided by them survives whole."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from harness.api import open_study
from harness.cli import check, tables
from harness.cli.app import main
from harness.cli.report import print_leaderboard
from harness.cli.test import held_out_table
from harness.core import strict_yaml
from harness.evaluation.held_out.ledger import (
    HeldOutResult,
    HeldOutTest,
    LedgerDataset,
    LedgerFinish,
    LedgerStart,
    LedgerThresholds,
)
from harness.report.page.held_out_section import build_run_view
from harness.report.tables.study_tables import ranked_records
from tests.cli.test_check import SPACE
from tests.inspection.datasets import mixed
from tests.report.studies import a_study

WIDTHS = pytest.mark.parametrize("width", [60, 80, 100])
LONG = "a class with a name that takes many words " * 2


def lines_of(text: str, width: int) -> list[str]:
    """The lines of tables, none of which is too wide or cut."""
    lines = [line for line in text.splitlines() if line.startswith(("│", "┃"))]
    assert lines and max(map(len, lines)) <= width
    assert not any("…" in line for line in lines)
    return lines


@pytest.fixture(autouse=True)
def narrow(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "WIDTH", request.getfixturevalue("width"))


@WIDTHS
def test_leaderboard_keeps_each_value_beside_its_trial(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], width: int
) -> None:
    a_study(tmp_path)
    opened = open_study("tiny", workspace=tmp_path)
    print_leaderboard(opened.tables, opened.confirmation)
    lines = lines_of(capsys.readouterr().out, width)
    cells = [[cell.strip() for cell in line.split("│")][1:4] for line in lines]
    for rank, record in enumerate(ranked_records(opened.tables), start=1):
        assert [str(rank), str(record.number), f"{record.value:.4f}"] in cells


@WIDTHS
def test_trials_keep_state_and_value(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], width: int
) -> None:
    a_study(tmp_path)
    with pytest.raises(SystemExit):
        main(["trials", "--workspace", str(tmp_path), "--study", "tiny"])
    lines = lines_of(capsys.readouterr().out, width)
    cells = [[cell.strip() for cell in line.split("│")] for line in lines]
    assert ["3", "complete", "0.1235"] in [row[1:4] for row in cells]
    assert ["5", "failed", "0.9500"] in [row[1:4] for row in cells]


@WIDTHS
def test_a_look_keeps_its_numbers(width: int) -> None:
    plain = HeldOutResult(
        metric="dice", meaning="image", at="0.5", value=0.8123, low=0.7, high=0.9, n=60
    )
    of_class = HeldOutResult(metric="dice", meaning="image", at="0.5", of=LONG, value=0.7654, n=60)
    iou = of_class.model_copy(update={"metric": "iou", "value": 0.6543})
    opened = LedgerStart(
        look=1,
        at="2026-01-01T00:00:00Z",
        weights={"1": "0"},
        data=LedgerDataset(name="test", n_images=60, sha256="0" * 64),
        chosen=LedgerThresholds(thresholds={}, n_images=0),
        tta=False,
        ensemble=False,
        device="cpu",
        versions={},
    )
    done = LedgerFinish(look=1, at=opened.at, scores_sha256="0", results=(plain, of_class, iou))
    sheets = dict(build_run_view(HeldOutTest(opened, done), brief=True).sheets)
    whole, by_class = sheets["all images"], sheets["by class"]
    first = printed_table(held_out_table("all images", whole, width), width)
    assert any("Dice" in line and " 0.8123 " in line for line in first)
    assert "[0.7000, 0.9000]" in "".join(first)
    second = printed_table(held_out_table("by class", by_class, width), width)
    assert any("0.7654" in line for line in second) and any("0.6543" in line for line in second)


@WIDTHS
@pytest.mark.parametrize("most_tables", [0, 12])
def test_check_keeps_what_is_possible_and_why_not(
    workspace: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    width: int,
    most_tables: int,
) -> None:
    monkeypatch.setattr(check, "MAX_TABLES", most_tables)
    (workspace / "two.yaml").write_text(strict_yaml.dump_yaml(SPACE), encoding="utf-8")
    with pytest.raises(SystemExit):
        main(["check", "--space", str(workspace / "two.yaml")])
    lines = lines_of(capsys.readouterr().out, width)
    if not most_tables:
        assert any(line.startswith("│ no: dilation ") for line in lines)
        assert any(line.startswith("│ yes ") for line in lines)
    assert any(line.startswith("│ dilation ") and "PAN dilates" in line for line in lines)


@WIDTHS
def test_inspection_keeps_shares_kinds_and_remedies(
    workspace: Path, capsys: pytest.CaptureFixture[str], width: int
) -> None:
    mixed(workspace / "d")
    with pytest.raises(SystemExit):
        main(["data", "inspect", str(workspace / "d")])
    lines = lines_of(capsys.readouterr().out, width)
    facts = [line for line in lines if "foreground" in line and "%" in line]
    assert len(facts) == 1 and facts[0].split("│")[2].strip().isdigit()
    assert any(line.startswith("│ error ") for line in lines)
    assert any(line.startswith("│ note  ") for line in lines)


def printed_table(table: object, width: int) -> list[str]:
    stream = io.StringIO()
    Console(file=stream, width=width).print(table)
    return lines_of(stream.getvalue(), width)
