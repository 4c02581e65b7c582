"""The section "Test" of the report, from a ledger alone."""

import json

from harness.config.decision_rule import ClassDecision, DecisionRule
from harness.core import files
from harness.data.splits.splits import read_split
from harness.evaluation.decision.step_effects import StepEffect
from harness.evaluation.held_out.ledger import (
    HeldOutResult,
    LedgerDataset,
    LedgerFailure,
    LedgerFinish,
    LedgerStart,
    LedgerThresholds,
    append_to_ledger,
)
from harness.report.page.held_out_section import build_held_out_section, held_out_note
from harness.report.page.page import write_report
from tests.report.studies import Builder

HOSTILE = "</script><img src=x onerror=alert(1)>{{ 7 * 7 }}"


def opening(look: int, name: str = "test", device: str = "cpu") -> LedgerStart:
    return LedgerStart(
        look=look,
        at="2026-01-02T03:04:05Z",
        weights={"3": "a" * 64},
        data=LedgerDataset(name=name, n_images=60, sha256="b" * 64),
        chosen=LedgerThresholds(thresholds={"foreground": 0.43}, n_images=8),
        tta=False,
        ensemble=False,
        device=device,
        versions={},
    )


def result(stratum: str = "", value: float | None = 0.8, **more: object) -> HeldOutResult:
    values = {"metric": "dice", "meaning": "image", "at": "0.5", "n": 60, "value": value}
    return HeldOutResult.model_validate(values | {"stratum": stratum} | more)


def ended(look: int) -> LedgerFinish:
    strata = ["size below 1 %", "size 1-5 %", "objects 1"]
    results = [result(low=0.75, high=0.85), result(metric="iou", value=0.7)]
    for stratum in strata:
        results += [result(stratum, None, n=0), result(stratum, None, n=0, metric="iou")]
    return LedgerFinish(
        look=look, at="2026-01-02T03:04:09Z", scores_sha256="c" * 64, results=tuple(results)
    )


def test_a_study_nobody_has_looked_at_names_the_command(study: Builder) -> None:
    split = read_split(study.paths.split_csv)
    section = build_held_out_section(study.paths, split, images=True)
    assert section.runs == () and section.notes == ()
    assert section.empty == (
        "1 test image has never been opened. Run harness test --study tiny to evaluate the best "
        "model on the test split."
    )
    assert held_out_note(study.paths, split) == "; 1 test image never opened"
    without = [row for row in split if row.role != "test"]
    assert "--on NAME=FOLDER" in build_held_out_section(study.paths, without, images=True).empty
    assert held_out_note(study.paths, without) == ""


def test_looks_are_shown_the_latest_first(study: Builder) -> None:
    append_to_ledger(study.paths, opening(1))
    append_to_ledger(study.paths, ended(1))
    append_to_ledger(study.paths, opening(2, "colon"))
    append_to_ledger(
        study.paths, LedgerFailure(look=2, at="2026-01-02T03:05:00Z", error="DataError: x.png")
    )
    append_to_ledger(study.paths, opening(3))
    section = build_held_out_section(study.paths, read_split(study.paths.split_csv), images=True)
    assert section.sentence == "test runs: 2; colon: 1"
    assert [look.title for look in section.runs] == [
        "Test run 3: the test images, 2026-01-02T03:04:05Z",
        "Test run 2: colon, 2026-01-02T03:04:05Z",
        "Test run 1: the test images, 2026-01-02T03:04:05Z",
    ]
    assert "No results: the test run was interrupted or is still running." in section.runs[0].facts
    assert "No results: the test run failed: DataError: x.png." in section.runs[1].facts
    titles, sheets = zip(*section.runs[2].sheets, strict=True)
    assert titles == ("all images", "by size of object", "by number of objects")
    texts = [[cell.text for cell in row] for row in sheets[0].rows]
    assert texts[0] == ["Dice", "mean over images", "p ≥ 0.5", "0.8000", "[0.7500, 0.8500]", "60"]
    assert texts[1][4] == "too few"
    assert [cell.text for cell in sheets[1].rows[0]] == ["below 1 %", "0", "–", "–"]


def test_a_damaged_ledger_is_said_everywhere(study: Builder) -> None:
    append_to_ledger(study.paths, opening(1))
    with study.paths.test_ledger.open("ab") as handle:
        handle.write(b'{"state": "op')
    split = read_split(study.paths.split_csv)
    section = build_held_out_section(study.paths, split, images=True)
    assert "line 2 of the ledger cannot be read" in section.notes[0]
    assert "line 2" in held_out_note(study.paths, split)


def test_hostile_texts_of_a_ledger_stay_text(study: Builder) -> None:
    study.trial(0, [0.5])
    append_to_ledger(study.paths, opening(1, device=HOSTILE))
    append_to_ledger(study.paths, LedgerFailure(look=1, at=HOSTILE, error=HOSTILE))
    line = opening(2, name=HOSTILE).model_dump(mode="json") | {"at": HOSTILE}
    files.append_jsonl(study.paths.test_ledger, json.loads(json.dumps(line)))
    write_report(study.paths, None)
    page = study.paths.report_html.read_text(encoding="utf-8")
    assert "onerror=alert(1)&gt;{{ 7 * 7 }}" in page
    assert "<img src=x" not in page


def test_a_clean_up_is_shown_with_what_each_step_brings(study: Builder) -> None:
    rule = DecisionRule(task="binary", classes=(ClassDecision(threshold=0.43, min_size=16),))
    effect = StepEffect(
        class_name=HOSTILE,
        step="min_size",
        value=16,
        before=0.8,
        after=0.79,
        low=-0.02,
        high=0.005,
        p=0.2,
        n=60,
        is_kept=True,
    )
    end = ended(1)
    cleaned = [r.model_copy(update={"at": "cleaned", "low": None}) for r in end.results]
    results = (*end.results, *cleaned)
    append_to_ledger(study.paths, opening(1).model_copy(update={"rule": rule}))
    append_to_ledger(study.paths, end.model_copy(update={"steps": (effect,), "results": results}))
    study.trial(0, [0.5])
    section = build_held_out_section(study.paths, read_split(study.paths.split_csv), images=True)
    (run,) = section.runs
    assert run.facts[-1] == (
        f"Clean-up: {HOSTILE} min_size 16; selected on 8 validation images before these images "
        "were opened."
    )
    sheets = dict(run.sheets)
    texts = [[cell.text for cell in row] for row in sheets["all images"].rows]
    assert ["Dice", "mean over images", "after clean-up", "0.8000", "too few", "60"] in texts
    (row,) = sheets["effect of each clean-up step"].rows
    assert [cell.text for cell in row[1:]] == [
        *("min_size 16", "-0.0100", "[-0.0200, +0.0050]", "0.8000", "0.7900", "0.2000", "60"),
        "yes",
    ]
    write_report(study.paths, None)
    page = study.paths.report_html.read_text(encoding="utf-8")
    assert "effect of each clean-up step" in page and "<img src=x" not in page
