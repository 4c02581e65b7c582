"""The ledger of looks: append-only, counted by openings, and not to be lost by damage."""

import json
from pathlib import Path

import pytest

from harness.config.decision_rule import ClassDecision, DecisionRule
from harness.core.paths import StudyPaths
from harness.evaluation.decision.step_effects import StepEffect
from harness.evaluation.held_out.ledger import (
    HeldOutResult,
    LedgerDataset,
    LedgerFailure,
    LedgerFinish,
    LedgerStart,
    LedgerThresholds,
    append_to_ledger,
    ledger_warning,
    next_test_number,
    read_held_out_ledger,
)

RESULT = HeldOutResult(metric="dice", meaning="image", at="0.5", value=0.1 + 0.2, n=3)


def opening(look: int, name: str = "test") -> LedgerStart:
    return LedgerStart(
        look=look,
        at="2026-01-02T03:04:05Z",
        weights={"3": "a" * 64},
        data=LedgerDataset(name=name, n_images=3, sha256="b" * 64),
        chosen=LedgerThresholds(thresholds={"foreground": 0.43}, n_images=4),
        tta=False,
        ensemble=False,
        device="cpu",
        versions={"torch": "2"},
    )


def ended(look: int) -> LedgerFinish:
    return LedgerFinish(
        look=look, at="2026-01-02T03:05:05Z", scores_sha256="c" * 64, results=(RESULT,)
    )


@pytest.fixture
def paths(tmp_path: Path) -> StudyPaths:
    return StudyPaths(tmp_path / "studies" / "s")


def test_there_is_no_look_before_the_first(paths: StudyPaths) -> None:
    ledger = read_held_out_ledger(paths)
    assert (ledger.tests, ledger.count_tests(), next_test_number(paths, ledger)) == ((), 0, 1)
    assert ledger.sentence() == "test runs: 0"


def test_what_is_entered_is_read_back(paths: StudyPaths) -> None:
    append_to_ledger(paths, opening(1))
    append_to_ledger(paths, ended(1))
    (look,) = read_held_out_ledger(paths).tests
    assert (look.start, look.end) == (opening(1), ended(1))
    assert look.results[0].value == 0.1 + 0.2
    assert ledger_warning(paths, read_held_out_ledger(paths)) is None


def test_openings_count_whatever_became_of_them(paths: StudyPaths) -> None:
    append_to_ledger(paths, opening(1))
    append_to_ledger(paths, opening(2))
    append_to_ledger(
        paths, LedgerFailure(look=2, at="2026-01-02T03:04:06Z", error="KeyboardInterrupt")
    )
    append_to_ledger(paths, opening(3, "colon"))
    ledger = read_held_out_ledger(paths)
    assert [look.end is None for look in ledger.tests] == [True, False, True]
    assert (ledger.count_tests(), ledger.count_tests("colon"), ledger.external_names) == (
        2,
        1,
        ("colon",),
    )
    assert ledger.sentence() == "test runs: 2; colon: 1"
    assert next_test_number(paths, ledger) == 4


@pytest.mark.parametrize("cut", [1, 20, 300])
def test_a_torn_last_line_stays_and_the_next_has_its_own(paths: StudyPaths, cut: int) -> None:
    append_to_ledger(paths, opening(1))
    append_to_ledger(paths, ended(1))
    whole = paths.test_ledger.read_bytes()
    torn = json.dumps(opening(2).model_dump(mode="json")).encode()[:cut]
    paths.test_ledger.write_bytes(whole + torn)
    ledger = read_held_out_ledger(paths)
    assert [look.number for look in ledger.tests] == [1]
    assert ledger.damaged_lines == (3,)
    assert "line 3 of the ledger cannot be read; it may have been a test run" in (
        ledger_warning(paths, ledger) or ""
    )
    number = next_test_number(paths, ledger)
    assert number > 1
    append_to_ledger(paths, opening(number))
    assert paths.test_ledger.read_bytes().startswith(whole + torn + b"\n")
    again = read_held_out_ledger(paths)
    assert [look.number for look in again.tests] == [1, number]
    assert again.sentence().startswith("test runs: 2; line 3 ")


@pytest.mark.parametrize(
    "damage",
    [b"\xff\xfe\n", b"[1]\n", b'{"state": "opened"}\n', b"null\n", b"[" * 100_000 + b"\n"],
)
def test_lines_that_are_none_are_named_and_stay(paths: StudyPaths, damage: bytes) -> None:
    append_to_ledger(paths, opening(1))
    with paths.test_ledger.open("ab") as handle:
        handle.write(damage)
    before = paths.test_ledger.read_bytes()
    append_to_ledger(paths, ended(1))
    ledger = read_held_out_ledger(paths)
    assert ledger.damaged_lines == (2,)
    assert [look.end for look in ledger.tests] == [ended(1)]
    assert paths.test_ledger.read_bytes().startswith(before)


def test_a_second_opening_of_one_number_is_named(paths: StudyPaths) -> None:
    append_to_ledger(paths, opening(1))
    append_to_ledger(paths, opening(1))
    assert read_held_out_ledger(paths).damaged_lines == (2,)


def test_numbers_are_not_used_again_when_the_ledger_is_gone(paths: StudyPaths) -> None:
    paths.test_run(7).root.mkdir(parents=True)
    assert next_test_number(paths, read_held_out_ledger(paths)) == 8


def test_numbers_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        HeldOutResult(metric="dice", meaning="image", at="0.5", value=float("nan"), n=1)


RULE = DecisionRule(task="binary", classes=(ClassDecision(threshold=0.43, min_size=16),))
EFFECT = StepEffect(
    class_name="disc",
    step="min_size",
    value=16,
    before=0.8,
    after=0.82,
    low=0.01,
    high=0.03,
    p=0.0002,
    n=60,
    is_kept=True,
)


def test_a_clean_up_is_read_back(paths: StudyPaths) -> None:
    start = opening(1).model_copy(update={"rule": RULE})
    cleaned = RESULT.model_copy(update={"at": "cleaned"})
    end = ended(1).model_copy(update={"results": (RESULT, cleaned), "steps": (EFFECT,)})
    append_to_ledger(paths, start)
    append_to_ledger(paths, end)
    (test,) = read_held_out_ledger(paths).tests
    assert (test.start, test.end) == (start, end)


def test_without_clean_up_lines_have_the_fields_of_earlier_versions(paths: StudyPaths) -> None:
    """Earlier versions refuse unknown fields, and would count such a line as damaged."""
    append_to_ledger(paths, opening(1))
    append_to_ledger(paths, ended(1))
    start, end = map(json.loads, paths.test_ledger.read_text(encoding="utf-8").splitlines())
    assert set(start) == {
        *("format", "state", "look", "at", "weights", "data", "chosen", "tta", "ensemble"),
        *("device", "versions"),
    }
    assert set(end) == {"format", "state", "look", "at", "scores_sha256", "results"}
