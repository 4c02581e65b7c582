"""Selection of finished trials of earlier studies for import into a new study (`--from STUDY`).

Imported trials are the first trials of the new study. They are copied into its folder with scores
and predictions of the validation images but without models, and do not count towards the requested
number of trials. The selection is written into study.yaml before anything is copied, so that an
interrupted import continues with the same trials.
"""

import math
from collections.abc import Sequence
from pathlib import Path

from harness.config.imports import ImportConfig
from harness.config.progress import ProgressReporter
from harness.config.study import AUGMENT_PRESETS, StudyConfig, TrialConfig
from harness.config.study_files import open_earlier_study
from harness.core import strict_yaml
from harness.core.errors import ConfigError, UserError
from harness.core.paths import StudyPaths, TrialPaths
from harness.core.records import TrialRecord, read_epochs, read_records
from harness.core.settings import flatten
from harness.core.text import count
from harness.data.splits.splits import SplitRow, read_split
from harness.search.definition.definition import StudyDefinition
from harness.search.imports.compatibility import (
    Compatibility,
    check_compatibility,
    incomparable_reasons,
)

IMPORTABLE_STATES = ("complete", "pruned")
MAX_LISTED_TRIALS = 8  # trial numbers per reason that are printed


def plan_imports(
    names: Sequence[str],
    paths: StudyPaths,
    definition: StudyDefinition,
    split: Sequence[SplitRow],
    augments: Sequence[Path] = (),
) -> tuple[ImportConfig, ...]:
    """Select the trials of earlier studies that fit into a new one; nothing is written.

    Args:
        names: names of the earlier studies.
        paths: folder of the new study.
        definition: definition of the new study.
        split: split of the new study.
        augments: augmentation files of the new study.

    Raises:
        ConfigError: a study does not exist, its values are not comparable, or no trial fits; the
            error lists every reason of every study.
    """
    problems: list[str] = []
    plans: list[ImportConfig] = []
    # Two earlier studies may share a trial that one imported from the other. Entered twice, it
    # would have double weight in the sampler's model.
    origins: set[str] = set()
    # A name that was given twice would import every trial twice.
    for name in dict.fromkeys(names):
        option = f"--from {name}"
        try:
            earlier, config = open_earlier_study(name, paths)
            reasons = _study_incompatibilities(earlier, config, definition, split)
        except UserError as error:
            problems += [f"{option}: {line}" for line in str(error).splitlines()]
            continue
        if reasons:
            problems += [
                f"{option}: values would not be comparable: {reason}" for reason in reasons
            ]
            continue
        plan = _plan_study(
            earlier, config, definition, {path.name: path for path in augments}, origins
        )
        if plan.trials:
            plans.append(plan)
        else:
            lines = exclusion_lines(plan)
            problems.append(
                f"{option}: no trial of it fits; {'; '.join(lines) or 'it has no trials'}"
            )
    if problems:
        raise ConfigError(problems)
    return tuple(plans)


def check_import_names(names: Sequence[str], paths: StudyPaths, config: StudyConfig) -> None:
    """Refuse names of studies that an existing study does not import already."""
    recorded = [plan.study for plan in config.imports]
    if new := [name for name in names if name not in recorded]:
        raise ConfigError(
            f"--from {', '.join(new)}: study {paths.name} has started without this import, and a "
            "started study never changes; start a new one under another name with --study"
        )


def log_import_plans(plans: Sequence[ImportConfig], progress: ProgressReporter) -> None:
    """Report the imported trials, and the excluded ones by reason."""
    for plan in plans:
        summary = f"{_import_summary(plan)} imported"
        reasons = exclusion_lines(plan)
        progress.stage(f"{summary}; excluded:" if reasons else f"{summary}; no trial is excluded")
        for line in reasons:
            progress.stage(f"  {line}")


def _import_summary(plan: ImportConfig) -> str:
    n = len(plan.trials)
    fits = "fits and is" if n == 1 else "fit and are"
    return f"{count(n, 'trial')} of {plan.study} {fits}"


def exclusion_lines(plan: ImportConfig) -> list[str]:
    """One line for each reason of exclusion, most frequent first; a trial may have several."""
    ordered = sorted(plan.left_out.items(), key=lambda item: -len(item[1]))
    return [f"{why}: {_trial_list(numbers)}" for why, numbers in ordered]


def _study_incompatibilities(
    earlier: StudyPaths, config: StudyConfig, definition: StudyDefinition, split: Sequence[SplitRow]
) -> list[str]:
    return incomparable_reasons(config, definition.config, read_split(earlier.split_csv), split)


def _plan_study(
    earlier: StudyPaths,
    config: StudyConfig,
    definition: StudyDefinition,
    augments: dict[str, Path],
    origins: set[str],
) -> ImportConfig:
    compatible: list[int] = []
    left_out: dict[str, list[int]] = {}
    for record in read_records(earlier):
        compatibility = check_trial(earlier.trial(record.number), record, definition)
        reasons = [*compatibility.reasons, *_augment_reasons(earlier, record, augments)]
        origin = training_origin(earlier.name, record)
        # In place of other reasons: the trial is in the new study, so nothing else matters.
        if origin in origins:
            reasons = ["imported already, from another study"]
        for reason in reasons:
            left_out.setdefault(reason, []).append(record.number)
        if not reasons:
            compatible.append(record.number)
            origins.add(origin)
    return ImportConfig(
        study=earlier.name,
        id=config.id,
        trials=tuple(compatible),
        left_out={why: tuple(numbers) for why, numbers in left_out.items()},
    )


def check_trial(
    trial: TrialPaths, record: TrialRecord, definition: StudyDefinition
) -> Compatibility:
    """Check that an earlier trial has ended, that its files are readable, and that it fits.

    The reasons are keys of `left_out` in study.yaml: a changed text would not match older files.
    """
    if record.state not in IMPORTABLE_STATES:
        return Compatibility({}, ("still running",) if record.state == "running" else ("failed",))
    if record.state == "complete" and (record.value is None or not math.isfinite(record.value)):
        return Compatibility({}, ("its value is no finite number",))
    # The pruner compares epochs, so every epoch needs the objective, not only the final value.
    metric = definition.config.objective.metric
    try:
        config = read_trial_config(trial)
        if any(metric not in epoch for epoch in read_epochs(trial)):
            return Compatibility({}, (f"its epochs do not tell {metric}",))
    except (OSError, ValueError, KeyError, ConfigError) as error:
        return Compatibility({}, (f"its files cannot be read ({type(error).__name__})",))
    return check_compatibility(definition, record, config)


def read_trial_config(trial: TrialPaths) -> TrialConfig:
    """Read the configuration of a trial. Raises OSError, ValueError or ConfigError."""
    text = trial.config_yaml.read_text(encoding="utf-8")
    nested = strict_yaml.load_yaml(text, source=str(trial.config_yaml)).value
    return TrialConfig.from_flat(flatten(nested), source=str(trial.config_yaml))


def _augment_reasons(
    earlier: StudyPaths, record: TrialRecord, augments: dict[str, Path]
) -> list[str]:
    """Reasons against a trial whose augmentation file has the same name but other steps."""
    try:
        name = read_trial_config(earlier.trial(record.number)).data.augment
    except (OSError, ValueError, ConfigError):
        return []  # reported by `check_trial` already
    if name in AUGMENT_PRESETS or name not in augments:
        return []
    steps_file = earlier.augments / name
    if steps_file.is_file() and steps_file.read_bytes() == augments[name].read_bytes():
        return []
    return [f"the steps in {name} were others there"]


def training_origin(study: str, record: TrialRecord) -> str:
    """Study and number under which a trial was trained, as `<study>/<number>`.

    A trial that the earlier study imported itself keeps its first origin.
    """
    return record.imported or f"{study}/{record.number}"


def _trial_list(numbers: Sequence[int]) -> str:
    listed = ", ".join(str(number) for number in numbers[:MAX_LISTED_TRIALS])
    more = ", …" if len(numbers) > MAX_LISTED_TRIALS else ""
    return f"{count(len(numbers), 'trial')} ({listed}{more})"
