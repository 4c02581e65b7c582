"""Which configurations are confirmed, on which seeds or folds: `confirm/confirm.yaml`.

A plan only grows: what is trained stays, further seeds and further configurations are appended.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from harness import files, strict_yaml
from harness.errors import ConfigError, UserError
from harness.paths import StudyPaths
from harness.records import TrialRecord, read_records
from harness.search.definition import Definition
from harness.search.repeats import SEED, identity
from harness.search.sampler import derive_seed
from harness.settings import Settings, validate
from harness.space.schema import Space, Whole
from harness.trial_groups import pair

TOP, SEEDS = 5, 3  # where nothing is asked for
CONFIRMS = "confirms"  # label of a confirming trial: the number of the one that it confirms
_LABEL = 0x636F6E6669726D  # "confirm": keeps these seeds apart from those of the search


class Run(Settings):
    """One confirming trial.

    Attributes:
        trial: number in the search of the trial whose configuration it has.
        part: which seed or fold, from 0.
        seed: its `train.seed`.
    """

    trial: int = Field(ge=0)
    part: int = Field(ge=0)
    seed: int = Field(ge=0, lt=2**32)


class Plan(Settings):
    """`confirm.yaml`. `runs` are in the order in which they are trained: run i is trial i."""

    format: Literal[1] = 1
    top: int = Field(ge=1, description="how many configurations were asked for")
    seeds: int | None = Field(None, ge=2, description="fresh seeds of each")
    folds: int | None = Field(None, ge=2, le=100, description="folds of train and val, instead")
    runs: Annotated[tuple[Run, ...], BeforeValidator(pair)] = ()

    @property
    def kind(self) -> Literal["seed", "fold"]:
        """What tells the runs of a configuration apart; the name of their label."""
        return "seed" if self.folds is None else "fold"

    @property
    def parts(self) -> int:
        """How often each configuration is trained."""
        return self.folds or self.seeds or 0

    @property
    def trials(self) -> tuple[int, ...]:
        """The trials of the search that are confirmed, in the order in which they were taken."""
        return tuple(dict.fromkeys(run.trial for run in self.runs))


def read_plan(paths: StudyPaths) -> Plan | None:
    """The plan of a confirmation; None before there is one.

    Args:
        paths: of the study or of its confirmation.

    Raises:
        ConfigError: the file is not what was written.
    """
    path = paths.confirm.confirm_yaml
    if not path.exists():
        return None
    value = strict_yaml.load(path.read_text(encoding="utf-8"), place=str(path)).value
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: must be a mapping, as `harness confirm` wrote it")
    return validate(Plan, value, str(path))


def write_plan(paths: StudyPaths, plan: Plan) -> None:
    """Write `confirm.yaml`, whole or not at all."""
    text = strict_yaml.dump(plan.model_dump(mode="json"))
    files.write_text(paths.confirm.confirm_yaml, text)


def make_plan(
    paths: StudyPaths,
    definition: Definition,
    *,
    top: int | None,
    seeds: int | None,
    folds: int | None,
) -> Plan:
    """The plan as it is, grown to what is asked for; nothing is written.

    Args:
        paths: the study's folder.
        top: how many configurations; None: as planned, else 5.
        seeds: of each; None: as planned, else 3.
        folds: instead of seeds.

    Raises:
        ConfigError: seeds and folds mixed, or another number of folds.
        UserError: no trial is complete.
    """
    old = read_plan(paths)
    _check_kind(paths, old, seeds, folds)
    records = read_records(paths)
    ranked = best_of_each(records, minimized=definition.config.objective.direction == "minimize")
    if not ranked:
        raise UserError(
            f"study {paths.name} has no complete trial yet; there is nothing to confirm"
        )
    old = old or Plan(top=top or TOP, seeds=None if folds else seeds or SEEDS, folds=folds)
    plan = old.model_copy(
        update={
            "top": max(old.top, top or 0),
            "seeds": None if old.seeds is None else max(old.seeds, seeds or 0),
        }
    )
    chosen = [*plan.trials, *(r.number for r in _new(plan, ranked, records))][: plan.top]
    return plan.model_copy(update={"runs": _runs(plan, chosen, definition.config.seed, records)})


def best_of_each(records: Sequence[TrialRecord], *, minimized: bool) -> list[TrialRecord]:
    """The best complete trial of each configuration, best first; of equals the earlier one."""
    sign = 1.0 if minimized else -1.0
    complete = [r for r in records if r.state == "complete" and math.isfinite(r.value or 0.0)]
    complete = [r for r in complete if r.value is not None]
    complete.sort(key=lambda r: (sign * (r.value or 0.0), r.number))
    first: dict[str, TrialRecord] = {}
    for record in complete:
        first.setdefault(identity(record), record)
    return list(first.values())


def unconfirmed(plan: Plan, records: Sequence[TrialRecord], *, minimized: bool) -> list[int]:
    """Trials among the best of the search, as many as are confirmed, that are not confirmed."""
    ranked = best_of_each(records, minimized=minimized)
    leading = ranked[: len(plan.trials)]
    new = {record.number for record in _new(plan, ranked, records)}
    return [record.number for record in leading if record.number in new]


def space_of(plan: Plan, definition: Definition, records: Mapping[int, TrialRecord]) -> Space:
    """The runs of a plan as a listed space: each is trained once, in order.

    The parameters are those of the search, whose ranges never change, so that a plan may grow
    without a change to what Optuna holds already.

    Raises:
        ConfigError: a trial of the plan is gone.
    """
    gone = [number for number in plan.trials if number not in records]
    if gone:
        raise ConfigError(f"trials {gone} are to be confirmed, but their folders are gone")
    space = definition.space
    values = {number: space.restored(records[number].params) for number in plan.trials}
    rows = tuple(values[run.trial] | {SEED: run.seed} for run in plan.runs)
    return replace(
        space,
        parameters=(
            *(one for one in space.parameters if one.key != SEED),
            Whole(SEED, 0, 2**32 - 1),
        ),
        fixed={key: value for key, value in space.fixed.items() if key != SEED},
        forbid=(),
        enqueue=(),
        rows=rows,
        labels=tuple(labels_of(plan, run) for run in plan.runs),
        places=(),
    )


def labels_of(plan: Plan, run: Run) -> dict[str, str]:
    """The labels of a run's trial."""
    return {CONFIRMS: str(run.trial), plan.kind: str(run.part)}


def _check_kind(paths: StudyPaths, old: Plan | None, seeds: int | None, folds: int | None) -> None:
    if seeds is not None and folds is not None:
        raise ConfigError("--seeds and --folds: give one of them; folds are trained on a seed each")
    if old is None:
        return
    anew = f"; to begin anew move {paths.confirm.root} away"
    if old.folds is not None and seeds is not None:
        raise ConfigError(f"--seeds {seeds}: {paths.name} is confirmed on {old.folds} folds{anew}")
    if old.seeds is not None and folds is not None:
        raise ConfigError(f"--folds {folds}: {paths.name} is confirmed on {old.seeds} seeds{anew}")
    if folds not in (None, old.folds):
        raise ConfigError(
            f"--folds {folds}: {paths.name} is confirmed on {old.folds} folds, and other folds "
            f"are other images{anew}"
        )


def _new(
    plan: Plan, ranked: Sequence[TrialRecord], records: Sequence[TrialRecord]
) -> list[TrialRecord]:
    """The best of each configuration that the plan does not have, best first."""
    planned = {identity(record) for record in records if record.number in plan.trials}
    return [record for record in ranked if identity(record) not in planned]


def _runs(
    plan: Plan, chosen: Sequence[int], study_seed: int, records: Sequence[TrialRecord]
) -> tuple[Run, ...]:
    """The runs there are, then the missing ones: the first seed of all comes before the second."""
    runs = list(plan.runs)
    there = {(run.trial, run.part) for run in runs}
    taken = {record.seed for record in records} | {run.seed for run in runs}
    for part in range(plan.parts):
        for trial in chosen:
            if (trial, part) not in there:
                runs.append(Run(trial=trial, part=part, seed=_seed(study_seed, trial, part, taken)))
                taken.add(runs[-1].seed)
    return tuple(runs)


def _seed(study_seed: int, trial: int, part: int, taken: set[int]) -> int:
    """A seed that nobody has had, another for each configuration.

    Sharing the k-th seed between configurations would tie their weights and data orders together
    where they happen to agree, and the comparison takes their runs as independent.
    """
    draws = (derive_seed(study_seed, _LABEL, trial, part, draw) for draw in range(len(taken) + 1))
    return next(seed for seed in draws if seed not in taken)
