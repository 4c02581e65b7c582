import math
from pathlib import Path

import pytest

from harness.cli.report import print_leaderboard
from harness.report.analysis.noise import (
    T_QUANTILES_975,
    NoiseEstimate,
    estimate_pooled_noise,
    noise_sentence,
)
from harness.report.page.headline import summary_lines
from harness.report.tables.study_tables import load_study_tables, ranked_records
from tests.report.studies import Builder

A, B, C = ({"optim.lr": rate} for rate in (1e-3, 1e-4, 1e-5))


def noise_of(study: Builder) -> NoiseEstimate | None:
    tables = load_study_tables(study.paths)
    return estimate_pooled_noise(tables.records, ranked_records(tables))


def repeated(study: Builder) -> Builder:
    """A three times, B twice, C once: by hand s² = (2 * 0.01 + 1 * 0.02) / 3 = 0.04 / 3."""
    for number, (params, loss) in enumerate(
        [(A, 0.2), (A, 0.3), (A, 0.4), (B, 0.5), (B, 0.7), (C, 0.9)]
    ):
        study.trial(number, [loss], params)
    return study


def test_deviation_is_pooled_over_the_configurations(study: Builder) -> None:
    noise = noise_of(repeated(study))
    assert noise is not None
    assert noise.deviation == pytest.approx(math.sqrt(0.04 / 3))
    assert (noise.degrees_of_freedom, noise.n_configurations) == (3, 2)
    assert noise.smallest_lead == pytest.approx(3.182 * math.sqrt(2 * 0.04 / 3))


def test_it_equals_one_way_analysis_of_variance(study: Builder) -> None:
    """The mean square within groups, from numpy's variances."""
    numpy = pytest.importorskip("numpy")
    groups = [numpy.random.default_rng(n).uniform(0.1, 0.9, n) for n in (2, 3, 5)]
    number = 0
    for rate, group in zip((1e-3, 1e-4, 1e-5), groups, strict=True):
        for value in group:
            study.trial(number, [float(value)], {"optim.lr": rate})
            number += 1
    squares = sum(group.var(ddof=1) * (len(group) - 1) for group in groups)
    noise = noise_of(study)
    assert noise is not None and noise.degrees_of_freedom == 7
    assert noise.deviation == pytest.approx(math.sqrt(squares / 7))


def test_pruned_and_failed_repetitions_are_not_pooled_but_told(study: Builder) -> None:
    before = noise_of(repeated(study))
    study.trial(6, [0.99], A, state="pruned")
    study.trial(7, [0.98], B, state="failed")
    study.trial(8, [0.97], C, state="pruned")  # C has no second complete trial
    noise = noise_of(study)
    assert noise is not None and before is not None
    assert (noise.deviation, noise.n_left_out) == (before.deviation, 2)
    assert "2 further trials of these configurations" in noise_sentence(
        noise, ranked_records(load_study_tables(study.paths))
    )


def test_one_seed_twice_is_no_estimate_of_chance(study: Builder) -> None:
    study.trial(0, [0.5], A, seed=7)
    study.trial(1, [0.5], A, seed=7)
    assert noise_of(study) is None
    study.trial(2, [0.7], A, seed=8)
    noise = noise_of(study)
    assert noise is not None and noise.degrees_of_freedom == 1


def test_nothing_is_said_without_repetitions(study: Builder) -> None:
    for number, params in enumerate((A, B, C)):
        study.trial(number, [0.5], params)
    assert noise_of(study) is None
    assert "Noise" not in [line.title for line in summary_lines(load_study_tables(study.paths), [])]


def test_the_sentence_says_what_it_rests_on(study: Builder) -> None:
    repeated(study)
    study.trial(6, [0.65], B, imported="old/3")
    lines = {line.title: line.text for line in summary_lines(load_study_tables(study.paths), [])}
    # s² = (2 * 0.01 + 2 * 0.0108333) / 4, t of 4 degrees 2.776
    assert lines["Noise"] == (
        "Trials of the same configuration differ by ±0.1021 (pooled standard deviation over 2 "
        "configurations, 1 imported trial among them; 4 degrees of freedom), assuming equal noise "
        "in all configurations; a lead smaller than 0.4007 is not significant. The lead of trial 0 "
        "over the best trial of another configuration, trial 3, is 0.3000: not significant."
    )


def test_the_console_says_it_too(study: Builder, capsys: pytest.CaptureFixture[str]) -> None:
    from harness.api import Study
    from harness.core.paths import Workspace

    repeated(study)
    study.trial(6, [0.65], B, imported="old/3", repeats=3)
    opened = Study(study.paths, Workspace(study.root))
    print_leaderboard(opened.tables, opened.confirmation)
    printed = " ".join(capsys.readouterr().out.split())
    assert "(repeats #3) (from old/3)" in printed
    assert "7 complete, 0 pruned, 0 failed, 1 of them imported." in printed
    assert "differ by ±0.1021" in printed


def test_t_quantiles_are_those_of_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    for freedom, t in T_QUANTILES_975.items():
        assert stats.t.ppf(0.975, freedom) == pytest.approx(t, abs=6e-4)


def test_trials_csv_marks_repetitions(study: Builder, tmp_path: Path) -> None:
    from harness.report.tables.study_tables import write_trials_csv

    study.trial(0, [0.5], A)
    study.trial(1, [0.6], A, repeats=0)
    write_trials_csv(load_study_tables(study.paths), tmp_path / "trials.csv")
    head, first, second = (
        line.split(",") for line in (tmp_path / "trials.csv").read_text().split()
    )
    place = head.index("repeats")
    assert (first[place], second[place]) == ("", "0")
