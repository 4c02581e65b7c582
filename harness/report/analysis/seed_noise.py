"""How far one configuration's values lie apart over seeds, from wherever that can be told."""

import math
from dataclasses import dataclass

from harness.evaluation.confirm.results import load_confirmation
from harness.report.analysis.noise import NoiseEstimate, estimate_pooled_noise
from harness.report.tables.study_tables import StudyTables, ranked_records


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
