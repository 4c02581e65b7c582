"""Selection of good configurations of earlier studies on other data (`--prior STUDY`).

Unlike `--from`, nothing has to be comparable: only the order of that study's trials counts. The
configurations are written into study.yaml, so that the earlier study may change or be deleted.
"""

import math
from collections.abc import Sequence

from harness.config.imports import PriorConfig
from harness.config.progress import ProgressReporter
from harness.config.study import StudyConfig
from harness.config.study_files import open_earlier_study
from harness.core.errors import ConfigError, UserError
from harness.core.paths import StudyPaths
from harness.core.records import read_records
from harness.core.text import count
from harness.search.definition.definition import StudyDefinition
from harness.search.imports.imports import read_trial_config
from harness.search.sampling.prior import fit_row

GOOD_SHARE = 0.25  # of the trials that ended as complete or pruned
MAX_ROWS = 20  # of one study
MIN_SHARED = 0.5  # share of a space's parameters that a configuration has to set
MAX_FIRST_SHARE = 0.1  # of the trials: what a wrong prior may cost


def plan_priors(
    names: Sequence[str], paths: StudyPaths, definition: StudyDefinition, trials: int
) -> tuple[PriorConfig, ...]:
    """Select configurations of earlier studies; nothing is written.

    Args:
        names: names of the earlier studies.
        paths: folder of the new study.
        definition: definition of the new study.
        trials: total number of trials that were requested.

    Raises:
        ConfigError: a study does not exist or has no trial that this space can use; the space is a
            list, which is trained in its own order, or the grid sampler draws.
    """
    if definition.space.rows or definition.config.sampler.name == "grid":
        raise ConfigError("--prior: has no effect on a list of combinations or on the grid sampler")
    problems: list[str] = []
    usable: list[tuple[str, str | None, list[dict[str, object]]]] = []
    for name in dict.fromkeys(names):
        try:
            earlier, config = open_earlier_study(name, paths)
        except UserError as error:
            problems += [f"--prior {name}: {line}" for line in str(error).splitlines()]
            continue
        if rows := _good_rows(earlier, config, definition):
            usable.append((name, config.id, rows))
        else:
            problems.append(f"--prior {name}: no complete trial of it has values for this space")
    if problems:
        raise ConfigError(problems)
    n_first = max(1, int(MAX_FIRST_SHARE * trials))
    # As evenly as possible, the first study first.
    first = [len(range(k, n_first, len(usable))) for k in range(len(usable))]
    return tuple(
        PriorConfig(study=name, id=id_, first=n, rows=tuple(rows))
        for (name, id_, rows), n in zip(usable, first, strict=True)
    )


def check_prior_names(names: Sequence[str], paths: StudyPaths, config: StudyConfig) -> None:
    """Refuse names of studies that are no prior of an existing study."""
    recorded = [prior.study for prior in config.priors]
    if new := [name for name in names if name not in recorded]:
        raise ConfigError(
            f"--prior {', '.join(new)}: study {paths.name} has started without this prior, and a "
            "started study never changes; start a new one under another name with --study"
        )


def log_priors(priors: Sequence[PriorConfig], progress: ProgressReporter) -> None:
    """Report how many configurations guide the search."""
    for prior in priors:
        rows = count(len(prior.rows), "good configuration")
        progress.stage(
            f"prior {prior.study}: {rows}, {prior.first} of them among the first trials; later "
            "draws follow it as far as the results do"
        )


def _good_rows(
    earlier: StudyPaths, config: StudyConfig, definition: StudyDefinition
) -> list[dict[str, object]]:
    """The best configurations of a study that the new space can draw, best first."""
    records = read_records(earlier)
    n_ended = sum(record.state in ("complete", "pruned") for record in records)
    n_good = min(MAX_ROWS, math.ceil(GOOD_SHARE * n_ended))
    rows: list[dict[str, object]] = []
    for record in config.objective.ranked(records)[:n_good]:
        try:
            values = read_trial_config(earlier.trial(record.number)).flat()
        except (OSError, ValueError, ConfigError):
            continue  # a damaged folder: the other trials are enough
        row = fit_row(definition.space, values)
        n_parameters = sum(definition.space.is_active(p, row) for p in definition.space.parameters)
        if row and len(row) >= MIN_SHARED * n_parameters and row not in rows:
            rows.append(row)
    return rows
