"""Caveats of a study: each check returns one sentence, or None if it does not apply."""

import math
import shlex
from collections.abc import Callable
from itertools import combinations

from harness.config.data import MIN_RANKING_IMAGES
from harness.core.records import TrialRecord
from harness.core.text import count, join_words, plural
from harness.data.splits.split_file import read_split
from harness.evaluation.statistics.paired_tests import holm_correction
from harness.evaluation.statistics.power import ONE_POINT, required_images
from harness.evaluation.statistics.ranking import studentized_range_p
from harness.report.analysis.host_failures import host_failures_caveat
from harness.report.analysis.image_values import compare_trials
from harness.report.analysis.noise import estimate_seed_noise
from harness.report.analysis.search_caveats import (
    optimum_at_boundary,
    pruned_within_noise,
    training_too_short,
)
from harness.report.tables.study_tables import StudyTables, ranked_records
from harness.search.imports.duplicates import config_key

SIGNIFICANCE_LEVEL = 0.05
N_TOP_TRIALS = 5  # trials of each order that are listed
MIN_DIFFERENCE = 0.001  # a tenth of a point: a smaller difference would read as equal when rounded


def find_caveats(tables: StudyTables) -> list[str]:
    """Caveats that apply to this study, the most serious first."""
    sentences = [check_caveat(tables) for check_caveat in CAVEAT_CHECKS]
    return [sentence for sentence in sentences if sentence is not None]


def spread_within_noise(tables: StudyTables) -> str | None:
    """Caveat if all configurations lie within the range expected of equal ones.

    Test: studentised range of one value per configuration, p > 0.05 (Tukey).
    """
    noise = estimate_seed_noise(tables)
    # One trial per configuration: the first with a value, as an earlier one may have been pruned or
    # have failed. The best of several would be biased, and the range test assumes one value each.
    first_by_configuration: dict[str, TrialRecord] = {}
    for record in sorted(ranked_records(tables), key=lambda record: record.number):
        first_by_configuration.setdefault(config_key(record), record)
    values = [
        record.value for record in first_by_configuration.values() if record.value is not None
    ]
    if noise is None or len(values) < 2:
        return None
    value_range = max(values) - min(values)
    # Division by zero below; repeated trials can agree
    # exactly, e.g. if all of them predict nothing.
    if noise.deviation == 0:
        p_value = 0.0 if value_range > 0 else 1.0
    else:
        p_value = studentized_range_p(
            value_range, noise.deviation, noise.degrees_of_freedom, len(values)
        )
    if p_value <= SIGNIFICANCE_LEVEL:
        return None
    return (
        f"All {count(len(values), 'complete configuration')} lie within {value_range:.4f} of each "
        "other, as equal configurations would because of their seeds (standard deviation "
        f"{noise.deviation:.4f}, from {noise.source}; p = {p_value:.2g}): their order is not "
        "meaningful."
    )


def too_few_images_to_rank(tables: StudyTables) -> str | None:
    """Caveat if there are too few validation images for a reliable order."""
    ranked = ranked_records(tables)
    path = tables.paths.split_csv
    if len(ranked) < 2 or not path.is_file():
        return None
    n = sum(row.role == "val" for row in read_split(path))
    if n >= MIN_RANKING_IMAGES:
        return None
    remedy = "Validate on more images, e.g. with split: {folds: 5} in a new study."
    if tables.config.split.folds is not None:
        remedy = (
            f"harness confirm --study {shlex.quote(tables.paths.name)} --folds 5 validates on "
            "every image of train and val."
        )
    return (
        f"{count(n, 'validation image')} {'ranks' if n == 1 else 'rank'} "
        f"{count(len(ranked), 'trial')}; below {MIN_RANKING_IMAGES} the order depends mostly on "
        f"which images are in the validation set. {remedy}"
    )


def leaders_indistinguishable(tables: StudyTables) -> str | None:
    """Caveat if the top three trials do not differ significantly, with the images needed.

    Test: paired sign flips over images, Holm's correction, p > 0.05 for some pair.
    """
    top = [record.number for record in ranked_records(tables)[:3]]
    compared = compare_trials(tables, top, top)
    if not compared:
        return None
    pairs, tests = list(compared), list(compared.values())
    scored = [number for number in top if any(number in pair for pair in pairs)]
    corrected = holm_correction([test.p for test in tests])
    undecided = [k for k, p in enumerate(corrected) if p > SIGNIFICANCE_LEVEL and tests[k].n > 1]
    if not undecided:
        return None
    # the pair that would need the most images; 1e-12 keeps equal trials from dividing by zero
    k = max(undecided, key=lambda k: tests[k].deviation / max(abs(tests[k].difference), 1e-12))
    difference = abs(tests[k].difference)
    first, second = pairs[k]
    sentence = (
        f"{count(tests[k].n, 'validation image')} cannot separate {_compared_text(top, scored)}: "
        f"between trials {first} and {second} the difference is {difference:.4f} "
        f"(p = {corrected[k]:.2g}, Holm)."
    )
    if tests[k].n < MIN_RANKING_IMAGES:  # the deviation of so few images is too uncertain
        return sentence
    n_for_difference = required_images(tests[k].deviation, difference) if difference > 0 else None
    n_for_one_point = required_images(max(tests[index].deviation for index in undecided), ONE_POINT)
    return (
        f"{sentence} To detect a difference of that size, "
        f"{_image_count_text(n_for_difference)} {plural('image', n_for_difference or 0)} would be "
        f"needed; for one point (0.01), {_image_count_text(n_for_one_point)}."
    )


def _compared_text(top: list[int], scored: list[int]) -> str:
    """The compared trials in words; by number if one of the best has no scores."""
    if len(scored) == len(top):
        return f"the top {count(len(scored), 'trial')}"
    return f"trials {join_words(map(str, scored))}"


def _image_count_text(needed: int | None) -> str:
    return "more than a million" if needed is None else f"about {needed}"


def metric_order_caveat(tables: StudyTables) -> str | None:
    """Caveat if the order by Dice or IoU (mIoU) differs from the order by the objective.

    Orders differ if, among the best N_TOP_TRIALS of either, one trial is behind another by the
    objective and at least MIN_DIFFERENCE ahead of it by the other metric.
    """
    ranked = ranked_records(tables)
    orders = _differing_orders(tables, ranked)
    if not orders:
        return None
    first = [record.number for record in ranked[:N_TOP_TRIALS]]
    order_texts = [
        f"by {join_words(names)} {_trials_text(order)}" for order, names in orders.items()
    ]
    return (
        "The order of the trials depends on the metric. By "
        f"{tables.config.objective.metric}, the objective, it is "
        f"{_trials_text(first)}; {'; '.join(order_texts)}. The objective selected each trial's "
        "best epoch and the trials to prune: if you report another metric, run a study with it as "
        "the objective (--objective)."
    )


def _differing_orders(
    tables: StudyTables, ranked: list[TrialRecord]
) -> dict[tuple[int, ...], list[str]]:
    """Orders that differ from the objective's, each with the quality metrics that give it."""
    iou = "val/miou" if tables.config.data.task == "multiclass" else "val/iou"
    orders: dict[tuple[int, ...], list[str]] = {}
    for metric in ("val/dice", iou):
        is_objective = metric == tables.config.objective.metric
        order = None if is_objective else _differing_order(ranked, metric)
        if order is not None:
            orders.setdefault(order, []).append(metric)
    return orders


def _differing_order(ranked: list[TrialRecord], metric: str) -> tuple[int, ...] | None:
    """The best N_TOP_TRIALS numbers by a higher-is-better metric; None if the order agrees."""
    # Records hold the values of the best epoch under best/; val/ are the keys of each epoch.
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


CAVEAT_CHECKS: tuple[Callable[[StudyTables], str | None], ...] = (
    spread_within_noise,
    too_few_images_to_rank,
    leaders_indistinguishable,
    metric_order_caveat,
    training_too_short,
    optimum_at_boundary,
    pruned_within_noise,
    host_failures_caveat,
)
