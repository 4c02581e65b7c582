"""How far one configuration's values lie apart over seeds, from wherever that can be told."""

import math
from dataclasses import dataclass

from harness.evaluation.confirmed import load_confirmation
from harness.report.noise import Noise, pooled_noise
from harness.report.tables import StudyTables, ranked_records


@dataclass(frozen=True)
class SeedNoise:
    """An estimate of the standard deviation over seeds.

    Attributes:
        deviation: of the objective of one configuration.
        freedom: degrees of freedom.
        smallest_lead: the distance that two equal ones exceed in 5 of 100 pairs.
        source: where it is from, in words.
    """

    deviation: float
    freedom: int
    smallest_lead: float
    source: str


def seed_noise(tables: StudyTables) -> SeedNoise | None:
    """From the confirmation or from repeated configurations, whichever has more to go by.

    Returns:
        None where no configuration was trained twice to the end.
    """
    found = [
        (noise, source)
        for noise, source in (
            (_confirmed(tables), "the confirmation"),
            (pooled_noise(tables.records, ranked_records(tables)), "repeated configurations"),
        )
        if noise is not None
    ]
    if not found:
        return None
    noise, source = max(found, key=lambda one: one[0].freedom)
    return SeedNoise(noise.deviation, noise.freedom, noise.smallest_lead, source)


def _confirmed(tables: StudyTables) -> Noise | None:
    """Folds do not count: their values differ by their images as well."""
    found = load_confirmation(tables.paths)
    if found is None or found.kind != "seed":
        return None
    groups = [row.values for row in found.rows if len(row.values) > 1]
    freedom = sum(len(values) - 1 for values in groups)
    if not freedom:
        return None
    squares = math.fsum(
        (value - math.fsum(values) / len(values)) ** 2 for values in groups for value in values
    )
    return Noise(math.sqrt(squares / freedom), freedom, len(groups), 0, 0)
