"""`--from STUDY`: a new study takes over the finished trials of an earlier one that fit.

They are copied into the new study's folder, first of all its trials, with scores and predictions
of the validation images and without models, and told to
Optuna with the new study's distributions: the tree-structured Parzen estimator keeps the first
range it saw of a parameter, and would never leave the old one. They are marked, and do not count
towards the number of trials asked for. What is to be imported is settled and written into
study.yaml before anything is copied, so that a study killed half-way takes up where it stopped.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from optuna.distributions import distribution_to_json

from harness import files, strict_yaml
from harness.config import AUGMENTS, StudyConfig, TrialConfig
from harness.data.splits import SplitRow, read_split
from harness.earlier_config import ImportConfig
from harness.errors import ConfigError, UserError
from harness.paths import StudyPaths, TrialPaths
from harness.records import TrialRecord, read_epochs, read_record, read_records, write_record
from harness.search.definition import Definition
from harness.search.earlier import open_earlier
from harness.search.fitting import Fit, fit, study_reasons
from harness.search.imported_scores import Rows, same_pictures, take_scores
from harness.search.progress import Progress
from harness.search.repeats import identity
from harness.search.sampler import distribution_of
from harness.settings import flatten
from harness.wording import count

STATES = ("complete", "pruned")
MOST_NAMED = 8  # trials of one reason that are named on the console


def plan_imports(
    names: Sequence[str],
    paths: StudyPaths,
    definition: Definition,
    split: Sequence[SplitRow],
    augments: Sequence[Path] = (),
) -> tuple[ImportConfig, ...]:
    """Which trials of the studies `names` a new study takes over; nothing is written.

    Args:
        paths: the new study's folder.
        split: its split.
        augments: its files of augmentation steps.

    Raises:
        ConfigError: no such study, or one whose values cannot be compared, or of which nothing
            fits; every reason of every study at once.
    """
    problems: list[str] = []
    plans: list[ImportConfig] = []
    taken: set[str] = set()
    for name in dict.fromkeys(names):
        place = f"--from {name}"
        try:
            earlier, config = open_earlier(name, paths)
            reasons = _study_reasons(earlier, config, definition, split)
        except UserError as error:
            problems += [f"{place}: {line}" for line in str(error).splitlines()]
            continue
        if reasons:
            problems += [f"{place}: values would not be comparable: {what}" for what in reasons]
            continue
        plan = _plan(earlier, config, definition, {path.name: path for path in augments}, taken)
        if plan.trials:
            plans.append(plan)
        else:
            lines = summary_of(plan)
            problems.append(
                f"{place}: nothing of it fits; {'; '.join(lines) or 'it has no trials'}"
            )
    if problems:
        raise ConfigError(problems)
    return tuple(plans)


def check_names(names: Sequence[str], paths: StudyPaths, config: StudyConfig) -> None:
    """Refuse imports that a study which has begun was not begun with."""
    recorded = [one.study for one in config.imports]
    if new := [name for name in names if name not in recorded]:
        raise ConfigError(
            f"study {paths.name} has begun, and a study never changes; it does not import "
            f"{', '.join(new)}: start a new one, under another name with --study"
        )


def tell_plan(plans: Sequence[ImportConfig], progress: Progress) -> None:
    """Say what is imported, and by reason what is not."""
    for plan in plans:
        fitting = f"{_fitting(plan)} imported"
        reasons = summary_of(plan)
        progress.stage(f"{fitting}; not:" if reasons else f"{fitting}; none is left out")
        for line in reasons:
            progress.stage(f"  {line}")


def _fitting(plan: ImportConfig) -> str:
    n = len(plan.trials)
    fits = "fits and is" if n == 1 else "fit and are"
    return f"{count(n, 'trial')} of {plan.study} {fits}"


def summary_of(plan: ImportConfig) -> list[str]:
    """One line for each reason, most frequent first; a trial may have several."""
    ordered = sorted(plan.left_out.items(), key=lambda item: -len(item[1]))
    return [f"{why}: {_numbers(numbers)}" for why, numbers in ordered]


def bring_in(paths: StudyPaths, definition: Definition) -> None:
    """Copy the trials that study.yaml names and that are not here yet, in order.

    Raises:
        UserError: an earlier study that is still needed is gone or was replaced.
    """
    planned = [(plan, number) for plan in definition.config.imports for number in plan.trials]
    first: dict[str, int] = {}
    rows: dict[str, Rows] = {}
    for number, (plan, theirs) in enumerate(planned):
        ours = paths.trial(number)
        if ours.trial_json.exists():
            first.setdefault(identity(read_record(ours.trial_json)), number)
            continue
        earlier, config = open_earlier(plan.study, paths)
        if config.id != plan.id:
            raise UserError(
                f"study {plan.study} was replaced while {paths.name} imported it; "
                f"start {paths.name} again under another name"
            )
        record = _taken_over(earlier.trial(theirs), definition, paths.name, number)
        alike = first.setdefault(identity(record), number)
        record = record.model_copy(update={"repeats": alike if alike < number else None})
        for source, target in (
            (earlier.trial(theirs).epochs_jsonl, ours.epochs_jsonl),
            (earlier.trial(theirs).config_yaml, ours.config_yaml),
        ):
            files.write_bytes(target, source.read_bytes())
        if earlier.trial(theirs).scores_csv.is_file():
            if plan.study not in rows:
                splits = read_split(earlier.split_csv), read_split(paths.split_csv)
                rows[plan.study] = same_pictures(*splits)
            take_scores(earlier.trial(theirs), ours, rows[plan.study])
        write_record(ours, record)  # last: from now on the trial is here


def _study_reasons(
    earlier: StudyPaths, config: StudyConfig, definition: Definition, split: Sequence[SplitRow]
) -> list[str]:
    return study_reasons(config, definition.config, read_split(earlier.split_csv), split)


def _plan(
    earlier: StudyPaths,
    config: StudyConfig,
    definition: Definition,
    augments: dict[str, Path],
    taken: set[str],
) -> ImportConfig:
    fitting: list[int] = []
    left_out: dict[str, list[int]] = {}
    for record in read_records(earlier):
        found = _fit(earlier.trial(record.number), record, definition)
        reasons = [*found.reasons, *_augment_reasons(earlier, record, augments)]
        origin = _origin(earlier.name, record)
        if origin in taken:
            reasons = ["imported already, from another study"]
        for reason in reasons:
            left_out.setdefault(reason, []).append(record.number)
        if not reasons:
            fitting.append(record.number)
            taken.add(origin)
    return ImportConfig(
        study=earlier.name,
        id=config.id,
        trials=tuple(fitting),
        left_out={why: tuple(numbers) for why, numbers in left_out.items()},
    )


def _fit(trial: TrialPaths, record: TrialRecord, definition: Definition) -> Fit:
    """As `fit`, and whether the trial has ended and its files tell all that is needed."""
    if record.state not in STATES:
        return Fit({}, ("still running",) if record.state == "running" else ("failed",))
    if record.state == "complete" and (record.value is None or not math.isfinite(record.value)):
        return Fit({}, ("its value is no finite number",))
    metric = definition.config.objective.metric
    try:
        config = _config(trial)
        if any(metric not in epoch for epoch in read_epochs(trial)):
            return Fit({}, (f"its epochs do not tell {metric}",))
    except (OSError, ValueError, KeyError, ConfigError) as error:
        return Fit({}, (f"its files cannot be read ({type(error).__name__})",))
    return fit(definition, record, config)


def _config(trial: TrialPaths) -> TrialConfig:
    text = trial.config_yaml.read_text(encoding="utf-8")
    nested = strict_yaml.load(text, place=str(trial.config_yaml)).value
    return TrialConfig.from_flat(flatten(nested), place=str(trial.config_yaml))


def _augment_reasons(
    earlier: StudyPaths, record: TrialRecord, augments: dict[str, Path]
) -> list[str]:
    """A file of augmentation steps may have the same name and other steps."""
    try:
        name = _config(earlier.trial(record.number)).data.augment
    except (OSError, ValueError, ConfigError):
        return []  # said already
    if name in AUGMENTS or name not in augments:
        return []
    theirs = earlier.augments / name
    if theirs.is_file() and theirs.read_bytes() == augments[name].read_bytes():
        return []
    return [f"the steps in {name} were others there"]


def _taken_over(trial: TrialPaths, definition: Definition, study: str, number: int) -> TrialRecord:
    """The record of an earlier trial as one of the new study."""
    record = read_record(trial.trial_json)
    found = _fit(trial, record, definition)
    if found.reasons:
        raise UserError(f"{trial.root}: has changed while it was imported: {found.reasons[0]}")
    space = definition.space
    distributions = {
        key: json.loads(distribution_to_json(distribution_of(space.by_key[key])))
        for key in found.values
    }
    update: dict[str, Any] = {
        "study": study,
        "number": number,
        "params": space.stored(found.values),
        "distributions": distributions,
        "imported": _origin(trial.root.parent.parent.name, record),
        "repeats": None,
        "mlflow_run_id": None,
    }
    return record.model_copy(update=update)


def _origin(study: str, record: TrialRecord) -> str:
    """`<study>/<number>` where a trial was trained, also when it was imported there."""
    return record.imported or f"{study}/{record.number}"


def _numbers(numbers: Sequence[int]) -> str:
    named = ", ".join(str(number) for number in numbers[:MOST_NAMED])
    more = ", …" if len(numbers) > MOST_NAMED else ""
    return f"{count(len(numbers), 'trial')} ({named}{more})"
