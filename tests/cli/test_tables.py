"""Tables at any width: what matters survives whole, the rest is folded with its name."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from harness.cli import confirm, tables
from harness.cli.tables import fit_table
from harness.evaluation.confirm.load_confirmation import load_confirmation
from tests.evaluation.confirm.test_load_confirmation import plan_of, spread
from tests.evaluation.confirming import a_search, begun, trained

COLUMNS = ("rank", "trial", "verdict", "confirmed", "searched")
ROWS = [("1", "10", "tied", "0.1234", "0.1111"), ("2", "7", "worse", "0.2345", "")]


def printed(width: int, **more: str) -> str:
    console = Console(file=io.StringIO(), width=width)
    rows = [(*row, "lr [b]0.1") for row in ROWS] if more else ROWS
    console.print(fit_table("a [b]title", COLUMNS, rows, width, **more))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [60, 80, 100, 140])
def test_the_first_columns_survive_whole_and_nothing_is_cut(width: int) -> None:
    text = printed(width)
    for word in ("verdict", "tied", "worse", "0.1234", "0.2345", "0.1111"):
        assert word in text
    assert "…" not in text and max(map(len, text.splitlines())) <= width


def test_what_does_not_fit_is_folded_with_its_name() -> None:
    """Forty characters: rank 4, trial 5, three each between, and a column of the rest."""
    lines = printed(40).splitlines()
    assert "more" in printed(40) and "searched" not in lines[2]
    flat = " ".join(line.split("│")[-2].strip() for line in lines if "│" in line)
    assert "verdict tied, confirmed" in flat and "searched 0.1111" in flat


def test_markup_in_cells_is_text() -> None:
    assert "lr [b]0.1" in printed(140, text="configuration")


@pytest.mark.parametrize("width", [60, 80, 100])
def test_the_verdict_of_a_confirmation_survives(
    width: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(tables, "WIDTH", width)
    paths, plan = a_search(tmp_path).paths, plan_of([1, 2], 2)
    begun(paths, plan)
    for number, loss in enumerate([0.21, 0.45, 0.23, 0.47]):
        trained(paths, plan, number, spread(loss))
    found = load_confirmation(paths)
    assert found is not None
    confirm.print_confirmation(found, "val/dice_loss")
    text = capsys.readouterr().out
    table = [line for line in text.splitlines() if line.startswith(("│", "┃"))]
    assert "verdict" in table[0] and max(map(len, table)) <= width
    for row in found.rows:
        assert any(f" {row.verdict} " in line and f" {row.trial} " in line for line in table)
