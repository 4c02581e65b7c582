"""Plan of a confirmation, `confirm/confirm.yaml`: its configurations and their seeds or folds.

A plan only grows: planned runs stay, and further seeds and configurations are appended.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from harness.config.objective import ObjectiveConfig
from harness.config.trial import to_tuple
from harness.core import files, strict_yaml
from harness.core.errors import ConfigError, UserError
from harness.core.paths import StudyPaths
from harness.core.records import TrialRecord, read_records
from harness.core.settings import StrictSettings, validate_settings
from harness.core.text import plural
from harness.search.definition.definition import StudyDefinition
from harness.search.imports.duplicates import SEED_KEY, config_key
from harness.search.sampling.seeds import derive_seed
from harness.space.space import IntRange, SearchSpace

DEFAULT_TOP, DEFAULT_SEEDS = 5, 3
CONFIRMS_LABEL = "confirms"  # label of a confirming trial: number of the search trial it confirms
_SEED_STREAM = 0x636F6E6669726D  # "confirm" in ASCII: a seed stream apart from the search's


class PlannedRun(StrictSettings):
    """One confirming trial.

    Attributes:
        trial: number of the search trial whose configuration is trained again.
        part: index of the seed or fold, from 0.
        seed: value of `train.seed`.
    """

    trial: int = Field(ge=0)
    part: int = Field(ge=0)
    seed: int = Field(ge=0, lt=2**32)


class ConfirmationPlan(StrictSettings):
    """Content of `confirm.yaml`. `runs` are in order of training: run i is trial i."""

    format: Literal[1] = 1
    top: int = Field(ge=1, description="requested number of configurations")
    # A single run shows no variance between runs, so no test would be possible.
    seeds: int | None = Field(None, ge=2, description="fresh seeds of each")
    folds: int | None = Field(None, ge=2, le=100, description="folds of train and val, instead")
    runs: Annotated[tuple[PlannedRun, ...], BeforeValidator(to_tuple)] = ()

    @property
    def kind(self) -> Literal["seed", "fold"]:
        """Unit of repetition, seed or fold; also the name of the runs' label."""
        return "seed" if self.folds is None else "fold"

    @property
    def parts(self) -> int:
        """Number of runs per configuration."""
        return self.folds or self.seeds or 0

    @property
    def trials(self) -> tuple[int, ...]:
        """Numbers of the confirmed search trials, in the order in which they were planned."""
        return tuple(dict.fromkeys(run.trial for run in self.runs))


def read_confirmation_plan(paths: StudyPaths) -> ConfirmationPlan | None:
    """Read the plan of a confirmation; None if there is none yet.

    Args:
        paths: the study's folder or its confirmation's.

    Raises:
        ConfigError: the file is not a valid plan.
    """
    path = paths.confirm.confirm_yaml
    if not path.exists():
        return None
    value = strict_yaml.load_yaml(path.read_text(encoding="utf-8"), source=str(path)).value
    if not isinstance(value, dict):
        raise ConfigError(
            f"{path}: must be a mapping of keys to values; restore the file that `harness confirm` "
            "wrote"
        )
    return validate_settings(ConfirmationPlan, value, str(path))


def write_confirmation_plan(paths: StudyPaths, plan: ConfirmationPlan) -> None:
    """Write `confirm.yaml` atomically."""
    text = strict_yaml.dump_yaml(plan.model_dump(mode="json"))
    files.write_text(paths.confirm.confirm_yaml, text)


def extend_confirmation_plan(
    paths: StudyPaths,
    definition: StudyDefinition,
    *,
    top: int | None,
    seeds: int | None,
    folds: int | None,
) -> ConfirmationPlan:
    """The existing plan extended to the requested size; nothing is written.

    Args:
        paths: the study's folder.
        top: number of configurations; None: as planned, or 5 for a new plan.
        seeds: seeds per configuration; None: as planned, or 3 for a new plan.
        folds: number of cross-validation folds, instead of seeds.

    Raises:
        ConfigError: both seeds and folds, or a number of folds other than the planned one.
        UserError: no trial is complete.
    """
    old = read_confirmation_plan(paths)
    _check_kind(paths, old, seeds, folds)
    records = read_records(paths)
    ranked = best_per_configuration(records, definition.config.objective)
    if not ranked:
        raise UserError(
            f"study {paths.name} has no complete trial yet, so there is nothing to confirm; "
            f"continue it: harness run --study {paths.name}"
        )
    old = old or ConfirmationPlan(
        top=top or DEFAULT_TOP, seeds=None if folds else seeds or DEFAULT_SEEDS, folds=folds
    )
    # max: a smaller request never removes runs that are already trained; run i is trial i
    plan = old.model_copy(
        update={
            "top": max(old.top, top or 0),
            "seeds": None if old.seeds is None else max(old.seeds, seeds or 0),
        }
    )
    # Planned configurations come first and stay, even if the search has found better ones since.
    chosen = [*plan.trials, *(r.number for r in _new_configurations(plan, ranked, records))][
        : plan.top
    ]
    return plan.model_copy(
        update={"runs": _extend_runs(plan, chosen, definition.config.seed, records)}
    )


def best_per_configuration(
    records: Sequence[TrialRecord], objective: ObjectiveConfig
) -> list[TrialRecord]:
    """The best complete trial of each configuration, best first; of equal ones the earlier."""
    best_by_key: dict[str, TrialRecord] = {}
    for record in objective.ranked(records):
        best_by_key.setdefault(config_key(record), record)
    return list(best_by_key.values())


def find_unconfirmed(
    plan: ConfirmationPlan, records: Sequence[TrialRecord], objective: ObjectiveConfig
) -> list[int]:
    """Unconfirmed trials among the best n of the search, where n configurations are confirmed."""
    ranked = best_per_configuration(records, objective)
    leaders = ranked[: len(plan.trials)]
    new_numbers = {record.number for record in _new_configurations(plan, ranked, records)}
    return [record.number for record in leaders if record.number in new_numbers]


def confirmation_space(
    plan: ConfirmationPlan, definition: StudyDefinition, records: Mapping[int, TrialRecord]
) -> SearchSpace:
    """The runs of a plan as a listed space: each is trained once, in order.

    The parameters are those of the search. Their ranges never change, so a plan can grow without
    a change to the distributions that Optuna has stored: it refuses a second set of choices for
    one parameter name.

    Raises:
        ConfigError: the folder of a planned trial is missing.
    """
    missing = [number for number in plan.trials if number not in records]
    if missing:
        numbers = ", ".join(map(str, missing))
        raise ConfigError(
            f"the plan confirms {plural('trial', len(missing))} {numbers}, but "
            f"{'its folder is missing' if len(missing) == 1 else 'their folders are missing'}; "
            "restore what is missing"
        )
    space = definition.space
    values = {number: space.from_optuna(records[number].params) for number in plan.trials}
    # The seed becomes a searched parameter: it then differs between rows, and Optuna records it.
    rows = tuple(values[run.trial] | {SEED_KEY: run.seed} for run in plan.runs)
    return replace(
        space,
        parameters=(
            *(parameter for parameter in space.parameters if parameter.key != SEED_KEY),
            # The full range from the start, so that a growing plan never changes the distribution.
            IntRange(SEED_KEY, 0, 2**32 - 1),
        ),
        fixed={key: value for key, value in space.fixed.items() if key != SEED_KEY},
        # Dropped, as the rows below were drawn under these rules;
        # first rows would be trained additionally.
        forbid=(),
        enqueue=(),
        rows=rows,
        labels=tuple(run_labels(plan, run) for run in plan.runs),
        row_locations=(),
    )


def run_labels(plan: ConfirmationPlan, run: PlannedRun) -> dict[str, str]:
    """Labels of the trial that trains a run."""
    return {CONFIRMS_LABEL: str(run.trial), plan.kind: str(run.part)}


def _check_kind(
    paths: StudyPaths, old: ConfirmationPlan | None, seeds: int | None, folds: int | None
) -> None:
    if seeds is not None and folds is not None:
        raise ConfigError(
            "--seeds and --folds: give only one of them; each fold is trained on a seed of its own"
        )
    if old is None:
        return
    # Seeds and folds have different variances, so one decision cannot be based on both.
    restart_hint = f"; to start again, move {paths.confirm.root} to another place"
    if old.folds is not None and seeds is not None:
        raise ConfigError(
            f"--seeds {seeds}: study {paths.name} is confirmed on {old.folds} folds{restart_hint}"
        )
    if old.seeds is not None and folds is not None:
        raise ConfigError(
            f"--folds {folds}: study {paths.name} is confirmed on {old.seeds} seeds{restart_hint}"
        )
    if folds not in (None, old.folds):
        raise ConfigError(
            f"--folds {folds}: study {paths.name} is confirmed on {old.folds} folds, and a "
            f"different number would change the images of each fold{restart_hint}"
        )


def _new_configurations(
    plan: ConfirmationPlan, ranked: Sequence[TrialRecord], records: Sequence[TrialRecord]
) -> list[TrialRecord]:
    """The best trial of each configuration that is not in the plan, best first."""
    # By configuration, not by number: the search may have trained the same configuration twice.
    planned_keys = {config_key(record) for record in records if record.number in plan.trials}
    return [record for record in ranked if config_key(record) not in planned_keys]


def _extend_runs(
    plan: ConfirmationPlan, chosen: Sequence[int], study_seed: int, records: Sequence[TrialRecord]
) -> tuple[PlannedRun, ...]:
    """Existing runs, then the missing ones.

    Sorted by seed before configuration, so that an interrupted confirmation has about equally many
    runs of every configuration.
    """
    runs = list(plan.runs)
    planned = {(run.trial, run.part) for run in runs}
    # The seeds of the search count as used: the same seed would repeat the very training that was
    # selected for its value, and with it the luck that the confirmation has to exclude.
    used_seeds = {record.seed for record in records} | {run.seed for run in runs}
    for part in range(plan.parts):
        for trial in chosen:
            if (trial, part) not in planned:
                runs.append(
                    PlannedRun(
                        trial=trial,
                        part=part,
                        seed=_fresh_seed(study_seed, trial, part, used_seeds),
                    )
                )
                used_seeds.add(runs[-1].seed)
    return tuple(runs)


def _fresh_seed(study_seed: int, trial: int, part: int, used_seeds: set[int]) -> int:
    """An unused seed, different for each configuration.

    If configurations shared their k-th seed, similar networks would start from equal weights and
    see the images in the same order; the comparison assumes that their runs are independent.
    """
    draws = (
        derive_seed(study_seed, _SEED_STREAM, trial, part, draw)
        # One draw nearly always suffices; the bound only keeps the generator finite.
        for draw in range(len(used_seeds) + 1)
    )
    return next(seed for seed in draws if seed not in used_seeds)
