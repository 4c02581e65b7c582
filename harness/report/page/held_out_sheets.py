"""Tables of one test run: metrics over all images, by class, and by stratum."""

from collections.abc import Sequence
from typing import Final

from harness.config.measurements import BUILTIN_METRICS
from harness.evaluation.held_out.ledger import AGGREGATION_NAMES, DECISION_NAMES, HeldOutResult
from harness.report.tables.sheet_cells import SheetCell, SheetColumn
from harness.report.tables.sheets import ReportSheet

_SHORT_AGGREGATION_NAMES: Final = {"image": "", "pixels": "pixels", "256": "256"}


def result_sheets(
    results: Sequence[HeldOutResult], *, brief: bool
) -> list[tuple[str, ReportSheet]]:
    """Titled tables of a test run: all images, classes, strata; `brief` as in `build_run_view`."""
    overall = [r for r in results if not r.of and not r.stratum]
    # Of Dice alone: it exists in every aggregation,
    # whereas precision and recall are per image only.
    variants = list(dict.fromkeys((r.meaning, r.at) for r in overall if r.metric == "dice"))
    variants = variants[:1] if brief else variants
    sheets = [("all images", _overall_sheet(overall))]
    classes = {r.of: [x for x in results if x.of == r.of] for r in results if r.of}
    if classes:
        sheets.append(("by class", _grouped_sheet("class", classes, variants)))
    for kind, title in (("size", "size of object"), ("objects", "number of objects")):
        groups = {
            r.stratum.removeprefix(f"{kind} "): [x for x in results if x.stratum == r.stratum]
            for r in results
            if r.stratum.startswith(f"{kind} ")
        }
        sheets.append((f"by {title}", _grouped_sheet(title, groups, variants)))
    return sheets


def _overall_sheet(results: Sequence[HeldOutResult]) -> ReportSheet:
    """One row per metric, aggregation and threshold."""
    columns = (
        SheetColumn("metric", "see docs/test.md", ""),
        SheetColumn("meaning", "aggregation: mean over images, or over all pixels together", ""),
        SheetColumn("decided at", "threshold from which a pixel is predicted as the class", ""),
        SheetColumn("value", "0 to 1"),
        SheetColumn("interval", "95 % BCa bootstrap over images"),
        SheetColumn("images", "number of images in the value"),
    )
    rows = []
    for r in results:
        texts = (_metric_name(r.metric), AGGREGATION_NAMES[r.meaning], DECISION_NAMES[r.at])
        interval = _interval_text(r) or ("too few" if r.n else "")
        low = "" if r.low is None else repr(r.low)
        cells = (_value_cell(r), SheetCell(interval, low), SheetCell(str(r.n), str(r.n)))
        rows.append((*(SheetCell(text, text) for text in texts), *cells))
    return ReportSheet(columns, tuple(rows))


def _grouped_sheet(
    group_title: str, groups: dict[str, list[HeldOutResult]], variants: Sequence[tuple[str, str]]
) -> ReportSheet:
    """Dice and IoU in each aggregation, one row per group of images."""
    keys = [(metric, *variant) for metric in ("dice", "iou") for variant in variants]
    columns = [
        SheetColumn(group_title, "group of images", ""),
        SheetColumn("images", "number of images in the group"),
    ]
    columns += [
        SheetColumn(
            " ".join(
                part
                for part in (
                    _metric_name(metric),
                    _SHORT_AGGREGATION_NAMES[meaning],
                    _short_threshold(threshold),
                )
                if part
            ),
            f"{AGGREGATION_NAMES[meaning]}, decided at {DECISION_NAMES[threshold]}; 95 % "
            "interval over images",
        )
        for metric, meaning, threshold in keys
    ]
    rows = []
    for index, (name, group) in enumerate(groups.items()):
        results_by_key: dict[tuple[str, str, str], HeldOutResult] = {
            (r.metric, r.meaning, r.at): r for r in group
        }
        n = str(results_by_key[keys[0]].n)
        cells = [_value_cell(results_by_key[key], interval=True) for key in keys]
        # Sorted by index: as texts, "size 15-…" would come before "size 5-…".
        rows.append((SheetCell(name, str(index)), SheetCell(n, n), *cells))
    return ReportSheet(tuple(columns), tuple(rows))


def _value_cell(result: HeldOutResult, *, interval: bool = False) -> SheetCell:
    if result.value is None:
        return SheetCell("–", "", "no image in this group")
    text = f"{result.value:.4f}"
    if interval:
        text = f"{text} {_interval_text(result)}".strip()
    # repr keeps every digit: the page sorts by the second text and shows the third on hover.
    return SheetCell(text, repr(result.value), repr(result.value))


def _interval_text(result: HeldOutResult) -> str:
    if result.low is None or result.high is None:
        return ""
    return f"[{result.low:.4f}, {result.high:.4f}]"


def _short_threshold(threshold: str) -> str:
    return {"256": "", "argmax": ""}.get(threshold, threshold)


def _metric_name(metric: str) -> str:
    # A ledger of a later version may have a metric that this one does not know.
    entry = BUILTIN_METRICS.get(metric)
    return metric if entry is None else entry.title
