"""Frozen decision rule of the confirmed choice, and the table of what each clean-up step brings."""

from collections.abc import Sequence
from dataclasses import dataclass

from harness.config.data import StudyDataConfig
from harness.core.errors import ConfigError
from harness.core.paths import StudyPaths
from harness.core.text import count
from harness.evaluation.confirm.results import Confirmation
from harness.evaluation.decision.frozen_rule import describe_rule, load_confirmed_rule
from harness.evaluation.decision.step_effects import StepEffect
from harness.evaluation.statistics.intervals import MIN_IMAGES
from harness.report.tables.sheet_cells import SheetCell, SheetColumn, integer_cell, metric_cell
from harness.report.tables.sheets import ReportSheet


@dataclass(frozen=True)
class DecisionRuleView:
    """The frozen rule as the page shows it.

    Attributes:
        facts: sentences on the rule and how it was chosen.
        sheet: one row for each clean-up step that was tried; no rows if none was.
    """

    facts: tuple[str, ...]
    sheet: ReportSheet


def build_rule_view(
    paths: StudyPaths, confirmation: Confirmation, data: StudyDataConfig
) -> DecisionRuleView | None:
    """Describe the rule of the confirmed choice; None if none is frozen."""
    try:
        frozen = load_confirmed_rule(paths, confirmation)
    except ConfigError as error:  # the report stands without it, as with a damaged ledger
        return DecisionRuleView((f"{error}.",), cleanup_sheet(()))
    if frozen is None:
        return None
    n = count(frozen.n_images, "validation image")
    facts = [
        f"Decision rule of {' + '.join(frozen.weights)}, chosen on {n} at their own sizes: "
        f"{describe_rule(frozen, data)}."
    ]
    if frozen.n_images < MIN_IMAGES:
        facts.append(f"Fewer than {MIN_IMAGES} validation images: too few to choose a clean-up.")
    elif not frozen.rule.cleans:
        facts.append("No clean-up step raises the mean Dice by more than noise, so none is used.")
    if frozen.steps:
        facts.append(
            "The table shows what each step brought on these validation images. They also chose "
            "the steps, so gains of steps that are used are too optimistic; harness test measures "
            "them on images that chose nothing. Images without the class count as 1 if nothing "
            "is found in them, else as 0."
        )
    return DecisionRuleView(tuple(facts), cleanup_sheet(frozen.steps))


def cleanup_sheet(effects: Sequence[StepEffect]) -> ReportSheet:
    """One row per clean-up step, in the order in which they act."""
    columns = (
        SheetColumn("class", "class whose objects the step changes", ""),
        SheetColumn("step", "fill holes, drop objects below min_size pixels, keep the largest", ""),
        SheetColumn("gain", "mean gain in Dice over images, on top of the used steps above"),
        SheetColumn("interval", "95 % BCa bootstrap of the mean gain, paired over images"),
        SheetColumn("before", "mean Dice before the step; images without the class count, too"),
        SheetColumn("after", "mean Dice after the step"),
        SheetColumn("p", "sign-flip test of the mean gain"),
        SheetColumn("images", "number of images in the means"),
        SheetColumn("used", "part of the decision rule", ""),
    )
    rows = []
    for effect in effects:
        limits, low = "too few", ""
        if effect.low is not None and effect.high is not None:
            limits, low = f"[{effect.low:+.4f}, {effect.high:+.4f}]", repr(effect.low)
        used = "yes" if effect.is_kept else "no"
        rows.append(
            (
                SheetCell(effect.class_name, effect.class_name),
                SheetCell(effect.name, effect.name),
                SheetCell(f"{effect.gain:+.4f}", repr(effect.gain), repr(effect.gain)),
                SheetCell(limits, low),
                metric_cell(effect.before),
                metric_cell(effect.after),
                metric_cell(effect.p),
                integer_cell(effect.n),
                SheetCell(used, used),
            )
        )
    return ReportSheet(columns, tuple(rows))
