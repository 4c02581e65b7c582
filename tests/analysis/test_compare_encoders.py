from pathlib import Path

import pytest

from analysis.compare_encoders import main
from tests.report.studies import a_study


def test_encoders_meet_at_one_budget(
    generated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "figure.html"
    assert main(["--workspace", str(generated), "--study", "big", "--out", str(out)]) == 0
    first, *rows = capsys.readouterr().out.splitlines()
    assert first.startswith("model.encoder_name: the expected best of ")
    budget = first.split("expected best of ")[1].split(" trials")[0]
    assert len(rows) == 4 and all(f"expected best of {budget} " in row for row in rows)
    page = out.read_text(encoding="utf-8")
    assert "expected best of n" in page and "default-src 'none'" in page


def test_groups_that_are_too_small_have_no_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a_study(tmp_path)
    words = ["--workspace", str(tmp_path), "--study", "tiny", "--out", str(tmp_path / "x.html")]
    assert main([*words, "--by", "model.encoder_depth"]) == 1
    assert "needs two values with 3" in capsys.readouterr().out
    assert not (tmp_path / "x.html").exists()


def test_an_unknown_study_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--workspace", str(tmp_path), "--study", "none"]) == 2
    assert "there is no study none in" in capsys.readouterr().err
