"""Orders of the trials by the objective and by the quality that people report."""

import math
from itertools import combinations

from harness.core.records import TrialRecord
from harness.core.text import join_words, plural
from harness.report.tables.study_tables import StudyTables, ranked_records

N_TOP_TRIALS = 5  # trials of each order
MIN_DIFFERENCE = 0.001  # a tenth of a point: of two trials nearer than this the order is rounding


def metric_order_caveat(tables: StudyTables) -> str | None:
    """The orders by the objective, and by Dice and IoU (mIoU) where they differ; None: they do not.

    An order differs where, among the TOP of either, one trial is behind another by the objective
    and at least LEAST ahead of it by the other metric.
    """
    ranked = ranked_records(tables)
    metric = tables.config.objective.metric
    iou = "val/miou" if tables.config.data.task == "multiclass" else "val/iou"
    orders: dict[tuple[int, ...], list[str]] = {}
    for quality_metric in ("val/dice", iou):
        if (
            quality_metric != metric
            and (order := _differing_order(ranked, quality_metric)) is not None
        ):
            orders.setdefault(order, []).append(quality_metric)
    if not orders:
        return None
    first = [record.number for record in ranked[:N_TOP_TRIALS]]
    order_texts = [
        f"by {join_words(names)} {_trials_text(order)}" for order, names in orders.items()
    ]
    return (
        f"The order of the trials depends on the metric. By {metric}, the objective, it is "
        f"{_trials_text(first)}; {'; '.join(order_texts)}. The objective chose each trial's best "
        "epoch and "
        "which trials were pruned: where another metric is what you report, run a study with it as "
        "objective (--objective)."
    )


def _differing_order(ranked: list[TrialRecord], metric: str) -> tuple[int, ...] | None:
    """The TOP numbers by a metric of which more is better; None where the order is the same."""
    key = metric.replace("val/", "best/")
    scored = [r for r in ranked if math.isfinite(r.best.get(key, math.nan))]
    if len(scored) < 2:
        return None
    best = sorted(scored, key=lambda record: -record.best[key])[
        :N_TOP_TRIALS
    ]  # stable: ties stay in order
    candidates = [
        record for index, record in enumerate(scored) if index < N_TOP_TRIALS or record in best
    ]
    is_reversed = any(
        b.best[key] - a.best[key] >= MIN_DIFFERENCE for a, b in combinations(candidates, 2)
    )
    return tuple(record.number for record in best) if is_reversed else None


def _trials_text(numbers: tuple[int, ...] | list[int]) -> str:
    return f"{plural('trial', len(numbers))} {', '.join(map(str, numbers))}"
