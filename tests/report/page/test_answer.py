import re
from pathlib import Path
from typing import Literal

import pytest

from harness.data.splits.splits import read_split
from harness.evaluation.confirm.load_confirmation import load_confirmation
from harness.evaluation.held_out.ledger import (
    HeldOutLedger,
    HeldOutResult,
    HeldOutTest,
    LedgerDataset,
    LedgerFinish,
    LedgerStart,
    LedgerThresholds,
)
from harness.report.page.answer import (
    Answer,
    asked_text,
    build_answer,
    default_question,
    find_relevant_test,
)
from harness.report.page.page import write_report
from harness.report.tables.study_tables import StudyTables, load_study_tables
from tests.report.confirmed import confirmed_study
from tests.report.studies import Builder

NO_TESTS = HeldOutLedger()


def finished_test(number: int, weights: str, dice: float, *, name: str = "test") -> HeldOutTest:
    """A finished test run with Dice at 0.5, by the chosen threshold and with clean-up."""
    decisions: tuple[Literal["0.5", "chosen", "cleaned"], ...] = ("0.5", "chosen", "cleaned")
    results = [
        HeldOutResult(
            metric="dice", meaning="image", at=at, value=dice + k / 100, low=0.5, high=0.9, n=60
        )
        for k, at in enumerate(decisions)
    ]
    results.append(
        HeldOutResult(
            metric="dice", meaning="image", at="cleaned", stratum="objects 1", value=0.1, n=3
        )
    )
    start = LedgerStart(
        look=number,
        at="2026-01-02T03:04:05Z",
        weights={weights: "a" * 64},
        data=LedgerDataset(name=name, n_images=60, sha256="b" * 64),
        chosen=LedgerThresholds(thresholds={"foreground": 0.43}, n_images=8),
        tta=False,
        ensemble=False,
        device="cpu",
        versions={},
    )
    finish = LedgerFinish(
        look=number, at="2026-01-02T03:04:09Z", scores_sha256="c" * 64, results=tuple(results)
    )
    return HeldOutTest(start, finish)


def numbers(answer: Answer) -> dict[str, tuple[str, str]]:
    return {number.title: (number.value, number.interval) for number in answer.numbers}


def test_a_leading_trial_is_called_leading(tables: StudyTables) -> None:
    answer = build_answer(tables, None, NO_TESTS)
    assert (answer.state, answer.badge, answer.trial) == ("leading", "Leading, not confirmed", 3)
    assert numbers(answer) == {
        "val/dice_loss": ("0.1235", ""),
        "val/dice": ("0.8765", ""),
        "val/iou": ("0.4383", ""),
    }
    assert answer.sentence.startswith("Trial 3 leads 5 complete trials, 0.1265 ahead of trial 4.")
    assert answer.configuration[:3] == ("trial 3", "arch Unet", "encoder_name resnet18")


def test_a_leading_trial_has_an_interval_from_fifty_images_on(tmp_path: Path) -> None:
    study = Builder(tmp_path, n_images=54)
    study.trial(0, [0.5], skill=0.8)
    answer = build_answer(load_study_tables(study.paths), None, NO_TESTS)
    limits = [number.interval for number in answer.numbers]
    assert all(re.fullmatch(r"95 %: 0\.\d{4} to 0\.\d{4}", text) for text in limits), limits


def test_a_study_without_a_complete_trial_has_no_number(study: Builder) -> None:
    answer = build_answer(load_study_tables(study.paths), None, NO_TESTS)
    assert (answer.state, answer.numbers, answer.trial) == ("none", (), None)


def test_a_confirmed_choice_replaces_the_leading_trial(tmp_path: Path) -> None:
    study, confirmation = confirmed_study(tmp_path)
    answer = build_answer(load_study_tables(study.paths), confirmation, NO_TESTS)
    assert (answer.state, answer.trial) == ("confirmed", 1)
    assert numbers(answer)["val/dice_loss, mean of 2 seeds"] == ("0.1950", "")
    assert answer.configuration == ("trial 1", "optim.lr 1.001")


def test_a_tested_choice_shows_what_the_test_images_gave(tmp_path: Path) -> None:
    study, confirmation = confirmed_study(tmp_path)
    weights = confirmation.weights
    assert weights is not None
    ledger = HeldOutLedger((finished_test(1, f"confirm/{weights.number}", 0.7),))
    answer = build_answer(load_study_tables(study.paths), confirmation, ledger)
    assert (answer.state, answer.badge, answer.trial) == ("tested", "Tested", 1)
    assert numbers(answer) == {"test Dice": ("0.7200", "95 %: 0.5000 to 0.9000")}
    assert answer.sentence == (
        "Measured after the confirmation on 60 test images at native size (after clean-up), "
        "opened by no earlier step."
    )


def test_a_test_of_other_weights_or_images_is_not_the_answer(tmp_path: Path) -> None:
    study, confirmation = confirmed_study(tmp_path)
    tables, weights = load_study_tables(study.paths), confirmation.weights
    assert weights is not None
    own = f"confirm/{weights.number}"
    others = (finished_test(1, "0", 0.7), finished_test(2, own, 0.7, name="colon"))
    assert build_answer(tables, confirmation, HeldOutLedger(others)).state == "confirmed"
    repeated = HeldOutLedger((*others, finished_test(3, own, 0.7), finished_test(4, own, 0.6)))
    answer = build_answer(tables, confirmation, repeated)
    assert numbers(answer)["test Dice"][0] == "0.6200"
    assert "opened by 3 test runs. Choices made after the first run" in answer.sentence


def test_the_leading_trial_can_be_tested_before_a_confirmation(tables: StudyTables) -> None:
    leader, other = finished_test(1, "3", 0.7), finished_test(2, "4", 0.7)
    ledger = HeldOutLedger((leader, other))
    assert find_relevant_test(ledger, None, 3) == leader
    answer = build_answer(tables, None, ledger)
    assert answer.state == "tested" and "before any confirmation" in answer.sentence


def test_what_was_asked_is_one_line(tables: StudyTables) -> None:
    split = read_split(tables.paths.split_csv)
    assert asked_text(tables, split) == (
        "lowest val/dice_loss on tiny, 1 training, 8 validation and 1 test images"
    )
    assert asked_text(tables, []) == "lowest val/dice_loss on tiny"


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, "Which val/dice_loss does this configuration reach?"),
        ({"optim.lr": 0.1}, "Which values of optim.lr give the best val/dice_loss?"),
    ],
)
def test_a_study_without_a_question_gets_one(
    tmp_path: Path, params: dict[str, float], expected: str
) -> None:
    study = Builder(tmp_path, config={"question": None})
    study.trial(0, [0.5], params)
    assert default_question(load_study_tables(study.paths)) == expected
    assert f"<h1>{expected}</h1>" in write_report(study.paths, None).read_text(encoding="utf-8")


def test_after_a_confirmation_every_picture_is_of_the_chosen_weights(tmp_path: Path) -> None:
    study, _ = confirmed_study(tmp_path)
    page = write_report(study.paths, study.data_root).read_text(encoding="utf-8")
    confirmation = load_confirmation(study.paths)
    assert confirmation is not None and confirmation.weights is not None
    name = f"trial 1, seed {confirmation.weights.part}"
    strip = page.split('class="strip"')[1].split("</div>")[0]
    texts = re.findall(r'alt="([^"]*)"', strip)
    assert len(texts) == 6 and all(f"that of {name}, Dice" in text for text in texts)
    overlays = re.findall(r'alt="([^"]*: hits, misses[^"]*)"', page)
    assert overlays and all(", seed " in text for text in overlays)
    rows = page.split('<article class="sample"')[1:]
    assert all(f"false alarms of {name}, Dice" in row for row in rows)
