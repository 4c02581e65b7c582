"""Section "Test" of the page: the results of every test run, from the ledger alone.

The images themselves are never read here: a report must not count as an opening of the test split.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, replace

from harness.core.paths import StudyPaths
from harness.core.text import count, has_or_have
from harness.data.splits.splits import SplitRow
from harness.evaluation.held_out.ledger import (
    TEST_SPLIT,
    HeldOutLedger,
    HeldOutTest,
    LedgerFailure,
    LedgerFinish,
    ledger_warning,
    read_held_out_ledger,
)
from harness.report.page.cleanup import cleanup_sheet
from harness.report.page.held_out_sheets import result_sheets
from harness.report.tables.sheets import ReportSheet

# Of one example picture; a file that somebody replaced by a huge one must not bloat the page.
_MAX_PICTURE_BYTES = 1_000_000


@dataclass(frozen=True)
class HeldOutRunView:
    """One test run as the page and the command `harness test` print it.

    Attributes:
        facts: sentences on images, weights, device and thresholds.
        sheets: tables with their titles.
        pictures: name and data URI of each example picture.
    """

    number: int
    title: str
    facts: tuple[str, ...]
    sheets: tuple[tuple[str, ReportSheet], ...] = ()
    pictures: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class HeldOutSection:
    """Contents of the section, the latest test run first.

    Attributes:
        n_test_runs: number of test runs on the study's own test images.
        empty: sentence that replaces the section before the first test run.
    """

    n_test_runs: int
    sentence: str
    ledger: HeldOutLedger
    notes: tuple[str, ...]
    runs: tuple[HeldOutRunView, ...]
    empty: str


def build_held_out_section(
    paths: StudyPaths, split: Sequence[SplitRow], *, images: bool
) -> HeldOutSection:
    """Build the section from the ledger of a study.

    Args:
        split: rows of split.csv; empty if the file is missing.
        images: include the example pictures.
    """
    ledger = read_held_out_ledger(paths)
    warning_text = ledger_warning(paths, ledger)
    notes = [] if warning_text is None else [warning_text]
    repeated = [
        name for name in (TEST_SPLIT, *ledger.external_names) if ledger.count_tests(name) > 1
    ]
    if repeated:
        dataset_names = ", ".join(
            "the test images" if name == TEST_SPLIT else name for name in repeated
        )
        notes.append(
            f"More than one test run on {dataset_names}: every choice made after the first run "
            "was influenced by these images, so later values are too optimistic."
        )
    run_views = [
        _run_view_with_pictures(paths, test_run) if images else build_run_view(test_run)
        for test_run in ledger.tests
    ]
    return HeldOutSection(
        ledger.count_tests(),
        ledger.sentence(),
        ledger,
        tuple(notes),
        tuple(reversed(run_views)),
        _empty_text(paths, split),
    )


def held_out_note(paths: StudyPaths, split: Sequence[SplitRow]) -> str:
    """Use of the test images, for the summary: `; 9 test images never opened`, or the ledger."""
    n_test, ledger = _n_test(split), read_held_out_ledger(paths)
    # A damaged line may have been a test run, so the images can no longer be called unopened.
    if ledger.count_tests() or ledger.damaged_lines:
        return f"; {count(n_test, 'test image')} opened ({ledger.sentence()})"
    return f"; {count(n_test, 'test image')} never opened" if n_test else ""


def build_run_view(test_run: HeldOutTest, *, brief: bool = False) -> HeldOutRunView:
    """Describe one test run in sentences and tables.

    Args:
        brief: of classes and strata, show only the mean over images at threshold 0.5 or by argmax.
    """
    opened = test_run.start
    name = "the test images" if opened.data.name == TEST_SPLIT else opened.data.name
    title = f"Test run {test_run.number}: {name}, {opened.at}"
    if isinstance(test_run.end, LedgerFinish):
        sheets = (*result_sheets(test_run.results, brief=brief), *_cleanup_sheets(test_run.end))
        return HeldOutRunView(test_run.number, title, tuple(_run_facts(test_run)), sheets)
    reason = "the test run was interrupted or is still running"
    if isinstance(test_run.end, LedgerFailure):
        reason = f"the test run failed: {test_run.end.error}"
    return HeldOutRunView(test_run.number, title, (*_run_facts(test_run), f"No results: {reason}."))


def _cleanup_sheets(end: LedgerFinish) -> list[tuple[str, ReportSheet]]:
    return [("effect of each clean-up step", cleanup_sheet(end.steps))] if end.steps else []


def _empty_text(paths: StudyPaths, split: Sequence[SplitRow]) -> str:
    command, n_test = f"harness test --study {paths.name}", _n_test(split)
    if not split:
        return "No test run yet. split.csv is missing, so the test images are not known."
    if not n_test:
        return f"No test images in the split. Run {command} --on NAME=FOLDER to test on others."
    have = has_or_have(n_test)
    text = f"{count(n_test, 'test image')} {have} never been opened."
    return f"{text} Run {command} to evaluate the best model on the test split."


def _n_test(split: Sequence[SplitRow]) -> int:
    return sum(row.role == "test" for row in split)


def _run_facts(test_run: HeldOutTest) -> list[str]:
    opened = test_run.start
    origin = "mean of trials" if opened.ensemble else "weights of trial"
    weights_text = f"{origin} {' + '.join(opened.weights)}"
    weights_text += ", averaged over four flips" if opened.tta else ""
    facts = [
        f"{count(opened.data.n_images, 'image')} at native size, SHA-256 "
        f"{opened.data.sha256[:12]}…; {weights_text}; {opened.device}."
    ]
    if opened.chosen.thresholds:
        thresholds_text = ", ".join(
            f"{name} {value:.2f}" for name, value in opened.chosen.thresholds.items()
        )
        n = count(opened.chosen.n_images, "validation image")
        facts.append(
            f"Chosen threshold: {thresholds_text}; selected on {n} before these images were opened."
        )
    if isinstance(test_run.end, LedgerFinish) and test_run.end.steps:
        n = count(opened.chosen.n_images, "validation image")
        steps = ", ".join(f"{step.class_name} {step.name}" for step in test_run.end.steps)
        facts.append(f"Clean-up: {steps}; selected on {n} before these images were opened.")
    if test_run.results and not any(result.low is not None for result in test_run.results):
        facts.append("Fewer than 50 images: too few for an interval.")
    return facts


def _run_view_with_pictures(paths: StudyPaths, test_run: HeldOutTest) -> HeldOutRunView:
    # Pictures are embedded as data URIs: the page refers to no file, so it can be sent by mail.
    view, pictures = build_run_view(test_run), []
    for name in ("worst", "median", "best"):
        path = paths.test_run(test_run.number).image(name)
        if view.sheets and path.is_file() and path.stat().st_size <= _MAX_PICTURE_BYTES:
            data = base64.b64encode(path.read_bytes()).decode("ascii")
            pictures.append((name, f"data:image/png;base64,{data}"))
    return replace(view, pictures=tuple(pictures))
