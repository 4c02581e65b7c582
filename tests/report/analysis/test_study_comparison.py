"""Comparison of studies: results, differences of definitions, the same images, the page."""

from dataclasses import replace
from pathlib import Path

import pytest

from harness.core.errors import UserError
from harness.report.analysis.study_comparison import compare_studies
from harness.report.comparison.page import render_comparison
from harness.report.figures.study_curves import best_lines, leading_lines, lines_sentence
from harness.report.figures.style import ObjectiveLabel
from harness.report.tables.study_tables import StudyTables, load_study_tables
from tests.report.studies import Builder, a_study

LOSS = ObjectiveLabel("val/dice_loss", minimized=True)


def tables_of(study: Builder) -> StudyTables:
    return load_study_tables(study.paths)


@pytest.fixture
def pair(tmp_path: Path) -> list[StudyTables]:
    """Two studies on the same images; the second one with another seed and a worse leader."""
    first = a_study(tmp_path, "first")
    second = Builder(tmp_path, "second", config={"seed": 7, "question": "<b>Which rate?</b>"})
    second.trial(
        4, [0.5, 0.3], {"optim.lr": 1e-3}, skill=0.5, ended="2026-11-20T09:01:00.000+00:00"
    )
    return [tables_of(first), tables_of(second)]


def test_results_name_the_best_trial_and_all_states(pair: list[StudyTables]) -> None:
    first, second = compare_studies(pair).results
    assert first == (
        *("first", "val/dice_loss 0.1235", "3", "0.8765", "0.4383"),
        *("5 complete, 2 pruned, 1 failed", "12 s", "Which encoder earns its memory?"),
    )
    assert second[:3] == ("second", "val/dice_loss 0.3000", "4")


def test_only_settings_that_differ_are_listed(pair: list[StudyTables]) -> None:
    assert compare_studies(pair).differences == (("seed", "0", "7"),)


def test_definitions_are_shown_in_words(tmp_path: Path) -> None:
    rate = {"low": 1e-4, "high": 1e-2, "step": None, "log": True}
    row = {"model.arch": "Unet", "optim.lr": 1e-3}
    spaces = ({"parameters": {"optim.lr": rate}, "enqueue": [row]}, {"enqueue": []})
    studies = [
        replace(tables_of(a_study(tmp_path, name)), space=space)
        for name, space in zip(("first", "second"), spaces, strict=True)
    ]
    assert compare_studies(studies).differences == (
        ("space: enqueue", "[(model.arch Unet, optim.lr 0.001)]", "none"),
        ("optim.lr", "0.0001 to 0.01, log", "–"),
    )


def test_leading_trials_are_compared_on_the_images_of_both(pair: list[StudyTables]) -> None:
    (sentence,) = compare_studies(pair).paired
    assert sentence.startswith("first: Against second, these weights on these images: on the 8")
    assert "for trial 3 and" in sentence and "for trial 4 of second" in sentence


def test_reason_is_given_where_images_cannot_be_compared(tmp_path: Path) -> None:
    first = a_study(tmp_path, "first")
    other = Builder(tmp_path, "other", eval_size=64)
    other.trial(0, [0.5], {}, skill=0.5)
    (sentence,) = compare_studies([tables_of(first), tables_of(other)]).paired
    assert sentence == (
        "first and other are not compared image by image: its data.eval_size is 64, but that of "
        "first is 32."
    )


def test_one_study_is_not_compared_with_itself(pair: list[StudyTables]) -> None:
    for studies in (pair[:1], [pair[0], pair[0]]):
        with pytest.raises(UserError, match="at least two different studies"):
            compare_studies(studies)


def test_lines_hold_the_values_of_the_trials(pair: list[StudyTables]) -> None:
    (line,) = best_lines(pair[1:])
    assert (line.study, line.x, line.y) == ("second", (1,), (0.3,))
    leading = leading_lines(pair)
    assert [(line.study, line.rank) for line in leading] == [
        *(("first", rank) for rank in (1, 2, 3)),
        ("second", 1),
    ]
    assert leading[-1].y == (0.5, 0.3)
    best = "Lowest val/dice_loss: second 0.3000 after 1 complete trial."
    assert lines_sentence([line], LOSS) == best
    assert lines_sentence(leading, LOSS) == (
        "Lowest val/dice_loss: first, trial 3 0.1235 at epoch 4; second, trial 4 0.3000 at epoch 2."
    )


def test_page_is_self_contained_and_escapes_what_users_wrote(pair: list[StudyTables]) -> None:
    page = render_comparison(compare_studies(pair), pair)
    assert "&lt;b&gt;Which rate?&lt;/b&gt;" in page and "<b>Which" not in page
    assert "default-src &#39;none&#39;" in page
    body = page[page.index("<body>") : page.index('<script type="application/json"')]
    assert "http" not in body and body.count("data-figure=") == 2
