"""How far apart trials of one configuration lie: the noise that a lead has to exceed."""

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
    """The pooled estimate.

    Attributes:
        deviation: standard deviation of the objective within a configuration, `s`.
        degrees_of_freedom: its degrees of freedom, Σ(n_i - 1), at least 1.
        n_configurations: how many have at least two trials in it.
        n_imported: how many of those trials come from earlier studies.
        n_left_out: trials of these configurations that were pruned or failed, and have no value.
    """

    deviation: float
    degrees_of_freedom: int
    n_configurations: int
    n_imported: int
    n_left_out: int

    @property
    def smallest_lead(self) -> float:
        """The distance that two trials of equal configurations exceed in 5 of 100 pairs.

        t · √2 · s, as the difference of two values has twice the variance of one. Between tabled
        degrees of freedom the lower ones are taken, whose t is larger.
        """
        t = T_QUANTILES_975[
            max(freedom for freedom in T_QUANTILES_975 if freedom <= self.degrees_of_freedom)
        ]
        return t * math.sqrt(2) * self.deviation


@dataclass(frozen=True)
class SeedNoiseEstimate:
    """An estimate of the standard deviation over seeds.

    Attributes:
        deviation: of the objective of one configuration.
        degrees_of_freedom: degrees of freedom.
        smallest_lead: the distance that two equal ones exceed in 5 of 100 pairs.
        source: where it is from, in words.
    """

    deviation: float
    degrees_of_freedom: int
    smallest_lead: float
    source: str


def estimate_seed_noise(tables: StudyTables) -> SeedNoiseEstimate | None:
    """From the confirmation or from repeated configurations, whichever has more to go by.

    Returns:
        None where no configuration was trained twice to the end.
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
    noise, source = max(estimates, key=lambda estimate: estimate[0].degrees_of_freedom)
    return SeedNoiseEstimate(noise.deviation, noise.degrees_of_freedom, noise.smallest_lead, source)


def _confirmation_noise(tables: StudyTables) -> NoiseEstimate | None:
    """Folds do not count: their values differ by their images as well."""
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
    """The standard deviation of the objective over trials of the same configuration, pooled.

    s = sqrt(Σ(n_i - 1) s_i² / Σ(n_i - 1)) over the configurations i with n_i ≥ 2 complete trials,
    where s_i² is the variance of their values (divided by n_i - 1). Complete trials only, imported
    ones among them. A trial on a seed that its configuration has had already repeats the other
    one's chance as well, and is left out.

    Args:
        records: every trial of the study.
        ranked: those that are complete and have a finite value.

    Returns:
        None where no configuration has two such trials.
    """
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
    excluded = [r for r in records if r.state in ("pruned", "failed") and config_key(r) in repeated]
    return NoiseEstimate(
        deviation=math.sqrt(squares / freedom),
        degrees_of_freedom=freedom,
        n_configurations=len(repeated),
        n_imported=sum(r.imported is not None for group in repeated.values() for r in group),
        n_left_out=len(excluded),
    )


def noise_sentence(noise: NoiseEstimate, ranked: Sequence[TrialRecord]) -> str:
    """The estimate in words, and what it says of the leading trial."""
    imported = f", {count(noise.n_imported, 'imported trial')} among them"
    degrees = "degree" if noise.degrees_of_freedom == 1 else "degrees"
    parts = [
        f"Trials of the same configuration differ by ±{noise.deviation:.4f} (pooled standard "
        f"deviation over {count(noise.n_configurations, 'configuration')}"
        f"{imported if noise.n_imported else ''}; {noise.degrees_of_freedom} {degrees} of "
        "freedom), if the "
        f"noise is alike in all; a lead smaller than {noise.smallest_lead:.4f} is not a lead."
    ]
    rival = next((r for r in ranked if config_key(r) != config_key(ranked[0])), None)
    if rival is not None:
        gap = abs((rival.value or 0.0) - (ranked[0].value or 0.0))
        lead_text = "not one" if gap < noise.smallest_lead else "larger"
        parts.append(
            f"That of trial {ranked[0].number} over the best of another configuration, trial "
            f"{rival.number}, is {gap:.4f}: {lead_text}."
        )
    if noise.n_left_out:
        parts.append(
            f"{count(noise.n_left_out, 'further trial')} of these configurations did not reach "
            "the end and could not count, so the noise may be larger."
        )
    return " ".join(parts)


def _sum_of_squares(values: Sequence[float]) -> float:
    """The sum of squared distances from the mean, (n - 1) s²."""
    mean = math.fsum(values) / len(values)
    return math.fsum((value - mean) ** 2 for value in values)
