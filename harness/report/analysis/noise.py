"""Noise between trials of one configuration: the spread over seeds that a lead must exceed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from harness.core.records import TrialRecord
from harness.core.text import count
from harness.evaluation.confirm.load_confirmation import load_confirmation
from harness.report.tables.study_tables import StudyTables, ranked_records
from harness.search.imports.duplicates import config_key

# Student's t below which 97.5 % lie (Fisher & Yates 1938, table III), by degrees of freedom.
T_QUANTILES_975 = {
    **{1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262},
    **{10: 2.228, 12: 2.179, 15: 2.131, 20: 2.086, 30: 2.042, 60: 2.000, 120: 1.980},
}


@dataclass(frozen=True)
class NoiseEstimate:
    """Pooled estimate of the noise within configurations.

    Attributes:
        deviation: standard deviation s of the objective within a configuration.
        degrees_of_freedom: degrees of freedom of s, Σ(n_i - 1), at least 1.
        n_configurations: number of configurations with at least two trials.
        n_imported: number of their trials that come from earlier studies.
        n_left_out: number of their trials that were pruned or failed and have no final value.
    """

    deviation: float
    degrees_of_freedom: int
    n_configurations: int
    n_imported: int
    n_left_out: int

    @property
    def smallest_lead(self) -> float:
        """Smallest significant lead: two equal configurations exceed it in 5 of 100 pairs.

        t(0.975; f) · √2 · s: the difference of two values has twice the variance of one. Between
        the degrees of freedom f of the table the lower ones are used, whose t is larger.
        """
        t = T_QUANTILES_975[
            max(freedom for freedom in T_QUANTILES_975 if freedom <= self.degrees_of_freedom)
        ]
        return t * math.sqrt(2) * self.deviation


@dataclass(frozen=True)
class SeedNoiseEstimate:
    """Estimate of the standard deviation over seeds, and its source.

    Attributes:
        deviation: standard deviation of the objective of one configuration.
        degrees_of_freedom: degrees of freedom of the deviation.
        smallest_lead: as `NoiseEstimate.smallest_lead`.
        source: source of the estimate, in words.
    """

    deviation: float
    degrees_of_freedom: int
    smallest_lead: float
    source: str


def estimate_seed_noise(tables: StudyTables) -> SeedNoiseEstimate | None:
    """Estimate the noise from the confirmation or from repeated configurations.

    Returns:
        The estimate with more degrees of freedom; None if no configuration was completed twice.
    """
    estimates = [
        (noise, source)
        for noise, source in (
            (_confirmation_noise(tables), "the confirmation"),
            (
                estimate_pooled_noise(tables.records, ranked_records(tables)),
                "repeated configurations",
            ),
        )
        if noise is not None
    ]
    if not estimates:
        return None
    # The estimate with more degrees of freedom is itself less uncertain.
    noise, source = max(estimates, key=lambda estimate: estimate[0].degrees_of_freedom)
    return SeedNoiseEstimate(noise.deviation, noise.degrees_of_freedom, noise.smallest_lead, source)


def _confirmation_noise(tables: StudyTables) -> NoiseEstimate | None:
    """Noise from a confirmation on seeds; None on folds, whose values also differ by images."""
    confirmation = load_confirmation(tables.paths)
    if confirmation is None or confirmation.kind != "seed":
        return None
    groups = [row.values for row in confirmation.rows if len(row.values) > 1]
    freedom = sum(len(values) - 1 for values in groups)
    if not freedom:
        return None
    squares = math.fsum(
        (value - math.fsum(values) / len(values)) ** 2 for values in groups for value in values
    )
    return NoiseEstimate(math.sqrt(squares / freedom), freedom, len(groups), 0, 0)


def estimate_pooled_noise(
    records: Sequence[TrialRecord], ranked: Sequence[TrialRecord]
) -> NoiseEstimate | None:
    """Pooled standard deviation of the objective over trials of the same configuration.

        s = sqrt(Σ(n_i - 1) s_i² / Σ(n_i - 1))

    over the configurations i with n_i ≥ 2 complete trials, imported ones included, where s_i² is
    the variance of their values (divided by n_i - 1). A second trial with the same seed repeats
    the first one's random numbers, shows no noise, and is left out.

    Args:
        records: every trial of the study.
        ranked: the complete trials with a finite value.

    Returns:
        None if no configuration has two such trials.
    """
    # By configuration, then by seed: setdefault keeps the first trial of each seed.
    groups: dict[str, dict[int, TrialRecord]] = {}
    for record in ranked:
        groups.setdefault(config_key(record), {}).setdefault(record.seed, record)
    repeated = {key: list(group.values()) for key, group in groups.items() if len(group) > 1}
    freedom = sum(len(group) - 1 for group in repeated.values())
    if not freedom:
        return None
    squares = math.fsum(
        _sum_of_squares([r.value or 0.0 for r in group]) for group in repeated.values()
    )
    # Not missing at random: the pruner removes the poor
    # runs, so the spread of the others is too small.
    excluded = [r for r in records if r.state in ("pruned", "failed") and config_key(r) in repeated]
    return NoiseEstimate(
        deviation=math.sqrt(squares / freedom),
        degrees_of_freedom=freedom,
        n_configurations=len(repeated),
        n_imported=sum(r.imported is not None for group in repeated.values() for r in group),
        n_left_out=len(excluded),
    )


def noise_sentence(noise: NoiseEstimate, ranked: Sequence[TrialRecord]) -> str:
    """Describe the estimate, and compare it with the lead of the best trial."""
    imported = f", {count(noise.n_imported, 'imported trial')} among them"
    degrees = "degree" if noise.degrees_of_freedom == 1 else "degrees"
    parts = [
        f"Trials of the same configuration differ by ±{noise.deviation:.4f} (pooled standard "
        f"deviation over {count(noise.n_configurations, 'configuration')}"
        f"{imported if noise.n_imported else ''}; {noise.degrees_of_freedom} {degrees} of "
        "freedom), assuming equal noise in all configurations; a lead smaller than "
        f"{noise.smallest_lead:.4f} is not significant."
    ]
    parts += _lead_sentences(noise, ranked)
    if noise.n_left_out:
        parts.append(
            f"{count(noise.n_left_out, 'further trial')} of these configurations did not finish "
            "and could not be included, so the noise may be larger."
        )
    return " ".join(parts)


def _lead_sentences(noise: NoiseEstimate, ranked: Sequence[TrialRecord]) -> list[str]:
    """The lead of the best trial against the noise; [] without a second configuration."""
    # A repetition of the best configuration is no rival: it differs from it by noise alone.
    rival = next((r for r in ranked if config_key(r) != config_key(ranked[0])), None)
    if rival is None:
        return []
    gap = abs((rival.value or 0.0) - (ranked[0].value or 0.0))
    lead_text = "not significant" if gap < noise.smallest_lead else "significant"
    return [
        f"The lead of trial {ranked[0].number} over the best trial of another configuration, "
        f"trial {rival.number}, is {gap:.4f}: {lead_text}."
    ]


def _sum_of_squares(values: Sequence[float]) -> float:
    """Sum of squared distances from the mean, (n - 1) s²."""
    mean = math.fsum(values) / len(values)
    return math.fsum((value - mean) ** 2 for value in values)
