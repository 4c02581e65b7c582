import numpy as np
import pytest
from scipy import stats

from harness.core.records import TrialRecord
from harness.report.analysis.effects import (
    describe_effects,
    effect_remarks,
    effect_verdict,
    estimate_effects,
)
from harness.report.tables.study_tables import StudyTables, load_study_tables
from tests.report.studies import Builder

DEPTH = "model.encoder_depth"


def depth_of(record: TrialRecord) -> str | None:
    return str(record.params[DEPTH]) if DEPTH in record.params else None


def filled(study: Builder, rows: list[tuple[float, dict[str, object]]]) -> StudyTables:
    for number, (loss, params) in enumerate(rows):
        study.trial(number, [loss], params)
    return load_study_tables(study.paths)


def test_two_groups_alone_are_the_t_test(study: Builder) -> None:
    deep, flat = [0.21, 0.24, 0.2, 0.25], [0.3, 0.28, 0.33, 0.31, 0.35]
    rows = [(loss, {DEPTH: 5}) for loss in deep] + [(loss, {DEPTH: 3}) for loss in flat]
    found = estimate_effects(filled(study, rows), depth_of, "5", {DEPTH})
    (one,) = found.effects
    test = stats.ttest_ind(deep, flat)
    low, high = test.confidence_interval(0.95)
    assert one.difference == pytest.approx(np.mean(deep) - np.mean(flat))
    assert (one.low, one.high) == pytest.approx((low, high))
    assert (
        effect_verdict(one, minimized=True) == "better"
        and effect_verdict(one, minimized=False) == "worse"
    )
    assert describe_effects(found, minimized=True).startswith("against 3 better (-0.0890, ")


def test_what_another_parameter_explains_is_taken_out(study: Builder) -> None:
    """Loss 0.3 + 0.02 for depth 3 + 0.2 a + 0.1 a²; deep trials have the worse rates."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(24):
        depth = 5 if i % 2 else 3
        a = float(rng.uniform(0.4, 1.0) if depth == 5 else rng.uniform(0.0, 0.6))
        noise = float(rng.normal(0, 1e-4))
        params = {DEPTH: depth, "optim.lr": 10 ** (-5 + 3 * a)}
        rows.append((0.3 + 0.02 * (depth == 3) + 0.2 * a + 0.1 * a**2 + noise, params))
    (one,) = estimate_effects(filled(study, rows), depth_of, "5", {DEPTH}).effects
    assert one.low < -0.02 < one.high and one.high - one.low < 0.001


def test_a_depth_that_goes_with_an_architecture_cannot_be_told(study: Builder) -> None:
    """Every Unet is 5 or 4 deep, every Linknet 3: 4 can be told from 5, 3 cannot."""
    rows: list[tuple[float, dict[str, object]]] = []
    for i in range(12):
        arch, depth = ("Linknet", 3) if i % 3 == 0 else ("Unet", 4 + i % 2)
        rows.append((0.3 + 0.01 * (i * 7 % 5), {"model.arch": arch, DEPTH: depth}))
    found = estimate_effects(filled(study, rows), depth_of, "5", {DEPTH})
    assert [one.level for one in found.effects] == ["4"] and found.missing == ("3",)
    assert effect_remarks(found)[-1] == "Confounded with the other parameters: 3."


def test_too_few_trials_and_absent_levels_say_so(study: Builder) -> None:
    tables = filled(study, [(0.3, {DEPTH: 5}), (0.4, {DEPTH: 3}), (0.5, {DEPTH: 4})])
    assert estimate_effects(tables, depth_of, "5", {DEPTH}).reason == (
        "3 complete trials leave 0 degrees of freedom beyond the coefficients of the model; "
        "5 are needed"
    )
    assert estimate_effects(tables, depth_of, "6", {DEPTH}).reason == (
        "needs complete trials with 6 and with another value; the complete trials have: "
        "3 (1), 4 (1), 5 (1)"
    )
