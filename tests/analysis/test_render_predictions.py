from pathlib import Path

import cv2
import pytest

from analysis.render_predictions import main
from tests.report.studies import Builder, a_study


def test_writes_a_picture_for_each_chosen_image(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a_study(tmp_path)
    out = tmp_path / "out"
    assert main(["--workspace", str(tmp_path), "--study", "tiny", "--out", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(list(out.iterdir())) == 8
    assert "  worst  images/p" in lines[0] and "Dice: trial 3 0." in lines[0]
    picture = cv2.imread(lines[0].split()[0])
    assert picture is not None
    assert picture.shape == (640, 1600, 3)  # 2 rows and 4 columns of 320, at 50 : 40


def test_without_predictions_it_fails_and_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Builder(tmp_path).trial(0, [0.5])
    words = ["--workspace", str(tmp_path), "--study", "tiny", "--out", str(tmp_path / "out")]
    assert main(words) == 1
    assert "Trial 0 has no saved predictions." in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_unknown_data_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a_study(tmp_path)
    assert main(["--workspace", str(tmp_path), "--study", "tiny", "--data", "tinny"]) == 2
    assert "tinny" in capsys.readouterr().err
