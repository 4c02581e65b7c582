"""Page, formats and scripts of degenerate studies: each comes out, with a sentence."""

import html
import importlib
import json
import re
from pathlib import Path
from typing import get_args

import pytest

from harness.api import open_study
from harness.cli.report import print_leaderboard
from harness.core.errors import UserError
from harness.core.paths import Workspace
from harness.report.analysis.baseline import compare_with_baseline
from harness.report.page.page import write_report
from harness.report.tables.export import ExportFormat, export_leaderboard
from harness.report.tables.study_tables import load_study_tables
from tests.report import degenerate
from tests.report.degenerate import Fill
from tests.report.studies import Builder

NO_TRIAL = "No trial is complete yet, so there is nothing to rank."
CASES: list[tuple[Fill, int, str]] = [
    (degenerate.nothing, 10, NO_TRIAL),
    (degenerate.failed, 10, "No confirmation yet, and no complete trial"),
    (degenerate.running, 10, NO_TRIAL),
    (degenerate.pruned, 10, "Pruned trials (4): stopped early, so not ranked"),
    (degenerate.one, 3, "1 validation image at 32 × 32 pixels"),
    (degenerate.one, 10, "There is no second complete trial to compare with."),
    (degenerate.some, 3, "1 validation image ranks 4 trials; below 20 the order depends mostly"),
    (
        degenerate.without_parameters,
        10,
        "All complete trials have the same configuration and differ",
    ),
    (degenerate.equal_values, 10, "All 12 complete trials have the same value: no importance"),
    (degenerate.equal_configurations, 10, "All 6 complete trials have the same configuration"),
    (
        degenerate.nothing_to_find,
        10,
        "No validation image has foreground, and no foreground was predicted in any",
    ),
    (
        degenerate.nothing_to_find,
        3,
        "No validation image has a value of val/dice_loss in two trials, so the trials",
    ),
    (degenerate.nan_metrics, 10, "val/dice_loss 0.4400"),
    (degenerate.no_costs, 10, "No complete trial has recorded its costs."),
    (degenerate.no_scores, 10, "No complete trial has scores.csv, so foreground shares"),
    (degenerate.no_predictions, 10, "No complete trial has saved predictions."),
    (degenerate.no_split, 10, "split.csv is missing, so the test images are not known."),
    (degenerate.no_epochs, 10, "No trial has finished an epoch yet."),
    (degenerate.hardly_a_file, 10, "No trial has finished an epoch yet."),
    (degenerate.imported, 10, "3 trials were imported from old."),
    (degenerate.no_data, 10, "The images of tiny were not found, so no image is shown."),
]
EACH = pytest.mark.parametrize(
    ("fill", "n_images", "sentence"), CASES, ids=[f"{fill.__name__}-{n}" for fill, n, _ in CASES]
)
COMPARED = (  # with `some`, on the same images
    degenerate.one,
    degenerate.some,
    degenerate.without_parameters,
    degenerate.equal_values,
    degenerate.nan_metrics,
    degenerate.no_costs,
    degenerate.no_predictions,
    degenerate.no_epochs,
    degenerate.hardly_a_file,
    degenerate.no_data,
)
INCOMPARABLE = (
    r"^[^\n]*(study tiny has no complete trial|0 validation images in common"
    r"|split.csv: missing, so images"
    r"|scores.csv: missing; only trials)[^\n]*$"
)
SCRIPTS = sorted(path.stem for path in (Path(__file__).parents[2] / "analysis").glob("*.py"))


def built(root: Path, fill: Fill, n_images: int, name: str = "tiny") -> Builder:
    study = Builder(root, name, n_images=n_images)
    fill(study)
    return study


def name_of(fill: Fill, n_images: int) -> str:
    return f"{fill.__name__}-{n_images}"


def words_of(page: Path) -> str:
    """The text of a page, without scripts and markup."""
    text = page.read_text(encoding="utf-8")
    text = re.sub(r"<(script|style).*?</\1>", "", text, flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(re.sub("<[^>]+>", " ", text)))


@pytest.fixture(scope="module")
def workspaces(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A workspace for each case with its study and one to compare it with; tests only read."""
    root = tmp_path_factory.mktemp("degenerate")
    for fill, n_images, _ in CASES:
        built(root / name_of(fill, n_images), fill, n_images)
        built(root / name_of(fill, n_images), degenerate.some, n_images, "other")
    return {name_of(fill, n): root / name_of(fill, n) for fill, n, _ in CASES}


@EACH
def test_the_page_comes_out_with_a_sentence(
    tmp_path: Path, fill: Fill, n_images: int, sentence: str
) -> None:
    study = built(tmp_path, fill, n_images)
    plain = words_of(write_report(study.paths, study.data_root, images=False))
    assert "Sample predictions were left out of this report." in plain
    words = words_of(write_report(study.paths, study.data_root))
    assert sentence in words
    assert not re.search(r"(?<!is )\bnan\b", words)
    assert not re.search(r"\bdrew 0 trials\b|\b1 (images|trials|epochs)\b(?!/)", words)


@EACH
def test_formats_and_the_printed_leaderboard_come_out(
    workspaces: dict[str, Path],
    capsys: pytest.CaptureFixture[str],
    fill: Fill,
    n_images: int,
    sentence: str,
) -> None:
    opened = open_study("tiny", workspace=workspaces[name_of(fill, n_images)])
    text = {form: export_leaderboard(opened.tables, form) for form in get_args(ExportFormat)}
    n_complete = len(json.loads(text["json"])["ranking"])
    assert text["csv"].count("\n") == 1 + len(opened.tables.records)
    assert ("no trial is complete yet" in text["latex"]) == (n_complete == 0)
    print_leaderboard(opened.tables, opened.confirmation)
    said = capsys.readouterr().out
    assert ("tiny: no trial is complete yet" in said) == (n_complete == 0)
    assert ("The first is leading, not confirmed." in said) == (n_complete > 0)


@EACH
def test_a_baseline_is_compared_or_one_line_says_why_not(
    workspaces: dict[str, Path], fill: Fill, n_images: int, sentence: str
) -> None:
    studies = Workspace.at(workspaces[name_of(fill, n_images)])
    tables = [load_study_tables(studies.study(name)) for name in ("tiny", "other")]
    for mine, theirs in (tables, tables[::-1]):
        if fill in COMPARED:
            found = compare_with_baseline(mine, theirs)
            assert "validation image" in found.sentence and "nan" not in found.sentence
            assert json.loads(export_leaderboard(mine, "json", found))["baseline"]
        else:
            with pytest.raises(UserError, match=INCOMPARABLE):
                compare_with_baseline(mine, theirs)


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_say_what_is_missing(
    workspaces: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], script: str
) -> None:
    """Whatever the study, a script ends with a line and one of three codes."""
    main = importlib.import_module(f"analysis.{script}").main
    for name, workspace in workspaces.items():
        words = ["--workspace", str(workspace), "--study", "tiny"]
        if script not in ("rank_trials", "seeds_or_configurations"):  # print tables only
            words += ["--out", str(tmp_path / name)]
        assert main(words) in (0, 1, 2), name
        out, err = capsys.readouterr()
        assert out + err and not re.search(r"\bnan\b", out), name
