"""Definition, splits and files of the confirming study `<name>.confirm`."""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from harness.config.data import StudyDataConfig
from harness.config.progress import ProgressReporter
from harness.config.study import BudgetConfig, PrunerConfig, SamplerConfig
from harness.config.study_files import read_study_config
from harness.core import files, strict_yaml
from harness.core.errors import UserError
from harness.core.paths import StudyPaths
from harness.core.records import read_records
from harness.data.datasets.sources import Dataset, ImageMaskPair, open_source
from harness.data.scan.scan import scan_dataset_strict
from harness.data.scan.scan_cache import SCAN_CACHE_FOLDER
from harness.data.splits.splits import SplitRow, read_split, verify_split, write_split
from harness.data.splits.stratified_split import assign_folds, collect_groups
from harness.evaluation.confirm.plan import (
    ConfirmationPlan,
    confirmation_space,
    read_confirmation_plan,
    run_labels,
    write_confirmation_plan,
)
from harness.search.definition.context import StudyContext
from harness.search.definition.data_setup import split_line
from harness.search.definition.definition import StudyDefinition
from harness.search.storage.location import StorageLocation
from harness.search.storage.storage import delete_optuna_study

ProgressCallback = Callable[[int, int], None]


def build_confirming_definition(
    plan: ConfirmationPlan, paths: StudyPaths, definition: StudyDefinition
) -> StudyDefinition:
    """Definition of the confirming study: the search's settings with a listed space, unpruned."""
    records = {record.number: record for record in read_records(paths)}
    space = confirmation_space(plan, definition, records)
    n_runs = len(plan.runs)
    config = definition.config.model_copy(
        update={
            # Kept from the first run on: Optuna's study and MLflow's runs are found by this id.
            "id": _recorded_id(paths) or uuid.uuid4().hex,
            "question": None,
            "space": None,
            # The grid takes each listed row once and then ends the study.
            "sampler": SamplerConfig(name="grid"),
            # A pruned run would have no final value, and runs that
            # start badly would be left out of the mean.
            "pruner": PrunerConfig(name="none"),
            # every run keeps its weights: any of them may become the recommended one
            "budget": BudgetConfig(trials=n_runs, keep=n_runs),
            "fixed": space.fixed,
            "taken": {},
            "imports": (),
        }
    )
    return StudyDefinition(config, space, is_started=True)


def _recorded_id(paths: StudyPaths) -> str | None:
    """Id of an existing confirming study; None before the first run."""
    return None if read_confirmation_plan(paths) is None else read_study_config(paths.confirm).id


def make_confirmation_splits(
    plan: ConfirmationPlan,
    previous_plan: ConfirmationPlan | None,
    context: StudyContext,
    progress: ProgressReporter,
) -> list[list[SplitRow]]:
    """The study's split for a confirmation on seeds; one split per fold for one on folds.

    Raises:
        DataError: an image of the study's split is missing or has changed.
    """
    paths, config = context.paths, context.config
    split = read_split(paths.split_csv)
    verify_split(split, open_source(context.data_root))
    if plan.folds is None:
        progress.stage(split_line(split))
        return [split]
    if previous_plan is not None:
        # Read, not assigned again: folds must not change between the runs of one confirmation.
        return [read_split(path) for path in _fold_files(plan, paths)]
    n_used = sum(row.role != "test" for row in split)
    return make_fold_splits(
        split,
        plan.folds,
        seed=config.split.seed,
        data=config.data,
        root=context.data_root,
        max_pixels=config.limits.max_pixels,
        scan_cache=context.workspace.cache / SCAN_CACHE_FOLDER,
        on_progress=progress.bar(f"assigning {n_used} train and val images to {plan.folds} folds"),
    )


def make_fold_splits(
    split: Sequence[SplitRow],
    folds: int,
    *,
    seed: int,
    data: StudyDataConfig,
    root: Path,
    max_pixels: float,
    scan_cache: Path,
    on_progress: ProgressCallback | None = None,
) -> list[list[SplitRow]]:
    """One split per fold: that fold is the validation set, and the other folds train.

    Rows keep their numbers. Groups of the study's split stay in one fold, so copies of an image
    do too; shares of the foreground, or of the classes, are balanced. Rows of the test split are
    unchanged, and their files are not opened.

    Args:
        split: the study's split.
        seed: seed of the order in which groups are assigned.
        root: folder that the rows' paths are relative to.
        scan_cache: folder of the scan cache, with the image facts of earlier scans.
        on_progress: called with the number of files done and the total.

    Raises:
        DataError: fewer groups than folds; a class that not every fold can contain.
    """
    train_val_rows = [row for row in split if row.role != "test"]
    pairs = tuple(
        ImageMaskPair(
            Path(row.image).stem, Path(row.image), tuple(Path(mask) for mask in row.masks)
        )
        for row in train_val_rows
    )
    image_facts = scan_dataset_strict(
        # its own name: under the data set's a scan could drop test images from the cache
        Dataset(f"{root.resolve().name} to be dealt", open_source(root), pairs, data, max_pixels),
        on_progress,
        scan_cache,
    )
    groups = collect_groups(
        [row.group for row in train_val_rows], [facts.shares for facts in image_facts], data
    )
    fold_of = assign_folds(groups, folds, 0, seed, data)
    return [
        [_assign_fold(row, fold_of.get(row.group), fold) for row in split] for fold in range(folds)
    ]


def _assign_fold(row: SplitRow, fold: int | None, val_fold: int) -> SplitRow:
    if row.role == "test":
        return replace(row, fold=None)
    return replace(row, fold=fold, role="val" if fold == val_fold else "train")


def write_confirming_study(
    plan: ConfirmationPlan,
    previous_plan: ConfirmationPlan | None,
    paths: StudyPaths,
    confirming: StudyDefinition,
    splits: Sequence[list[SplitRow]],
    storage: StorageLocation,
    progress: ProgressReporter,
) -> None:
    """Write the files of the confirming study.

    The plan is written last: its presence means that all other files are complete.
    """
    confirm_paths = paths.confirm
    if previous_plan is None:
        # Trials without a plan cannot be assigned to
        # configurations, and they may not be overwritten.
        if any(confirm_paths.all_trials()):
            raise UserError(
                f"{confirm_paths.root}: contains trials but no confirm.yaml; "
                "move the folder to another place"
            )
        if delete_optuna_study(storage, confirm_paths.name):
            progress.stage(
                f"study {confirm_paths.name} was removed from the Optuna database, as its folder "
                "no longer exists"
            )
        # On seeds there are no fold files (the study's own
        # split.csv is used), so the lengths differ.
        for path, rows in zip(_fold_files(plan, paths), splits, strict=False):
            write_split(path, rows)
    else:
        _check_records(plan, confirm_paths)
    space_text = strict_yaml.dump_yaml(confirming.recorded_space.as_dict())
    files.write_text(
        confirm_paths.study_yaml, strict_yaml.dump_yaml(confirming.config.model_dump(mode="json"))
    )
    files.write_text(confirm_paths.space_yaml, space_text)
    write_confirmation_plan(paths, plan)


def _check_records(plan: ConfirmationPlan, confirm_paths: StudyPaths) -> None:
    """Refuse an edited plan: run i of the plan is trial i, and nothing else connects the two."""
    for record in read_records(confirm_paths):
        runs = plan.runs[record.number : record.number + 1]
        if [run_labels(plan, run) for run in runs] != [record.labels]:
            raise UserError(
                f"{confirm_paths.confirm_yaml}: run {record.number} differs from the trial that "
                "was trained; restore the file, or move "
                f"{confirm_paths.root} to another place and start again"
            )


def _fold_files(plan: ConfirmationPlan, paths: StudyPaths) -> list[Path]:
    """Paths of `split-<fold>.csv`, in order of fold."""
    return [paths.confirm.split_for({"fold": str(fold)}) for fold in range(plan.folds or 0)]
