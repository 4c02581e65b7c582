"""Orders of the trials by the objective and by the quality that people report."""

import math
from itertools import combinations

from harness.records import TrialRecord
from harness.report.tables import StudyTables, ranked_records
from harness.report.wording import among, plural

TOP = 5  # trials of each order
LEAST = 0.001  # a tenth of a point: of two trials nearer than this the order is rounding


def other_orders(tables: StudyTables) -> str | None:
    """The orders by the objective, and by Dice and IoU (mIoU) where they differ; None: they do not.

    An order differs where, among the TOP of either, one trial is behind another by the objective
    and at least LEAST ahead of it by the other metric.
    """
    ranked = ranked_records(tables)
    metric = tables.config.objective.metric
    iou = "val/miou" if tables.config.data.task == "multiclass" else "val/iou"
    orders: dict[tuple[int, ...], list[str]] = {}
    for other in ("val/dice", iou):
        if other != metric and (order := _other(ranked, other)) is not None:
            orders.setdefault(order, []).append(other)
    if not orders:
        return None
    first = [record.number for record in ranked[:TOP]]
    each = [f"by {among(names)} {_listed(order)}" for order, names in orders.items()]
    return (
        f"The order of the trials depends on the metric. By {metric}, the objective, it is "
        f"{_listed(first)}; {'; '.join(each)}. The objective chose each trial's best epoch and "
        "which trials were pruned: where another metric is what you report, run a study with it as "
        "objective (--objective)."
    )


def _other(ranked: list[TrialRecord], metric: str) -> tuple[int, ...] | None:
    """The TOP numbers by a metric of which more is better; None where the order is the same."""
    key = metric.replace("val/", "best/")
    having = [r for r in ranked if math.isfinite(r.best.get(key, math.nan))]
    if len(having) < 2:
        return None
    best = sorted(having, key=lambda record: -record.best[key])[:TOP]  # stable: ties stay in order
    some = [record for place, record in enumerate(having) if place < TOP or record in best]
    turned = any(b.best[key] - a.best[key] >= LEAST for a, b in combinations(some, 2))
    return tuple(record.number for record in best) if turned else None


def _listed(numbers: tuple[int, ...] | list[int]) -> str:
    return f"{plural('trial', len(numbers))} {', '.join(map(str, numbers))}"
