"""Copy of planned imports into the new study's folder: records, epochs, scores, predictions.

Both studies validate on the same images at the same eval_size, otherwise nothing is imported; but
the same image may have another row number and another path in the earlier split.csv.
"""

import dataclasses
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from harness.config.study_files import open_earlier_study
from harness.core import files
from harness.core.errors import DataError, UserError
from harness.core.paths import StudyPaths, TrialPaths
from harness.core.records import TrialRecord, read_record, write_record
from harness.data.splits.splits import SplitRow, read_split
from harness.search.definition.definition import StudyDefinition
from harness.search.imports.duplicates import config_key
from harness.search.imports.imports import check_trial, training_origin
from harness.search.sampling.distributions import recorded_distributions
from harness.training.metrics.image_scores import ImageScores, read_scores, write_scores

RowMapping = Mapping[int, SplitRow]


def match_rows(earlier: Sequence[SplitRow], new_split: Sequence[SplitRow]) -> RowMapping:
    """Map validation rows of an earlier split to rows of the new one by image and mask content.

    Returns:
        New row by earlier row number.
    """
    groups: dict[tuple[str, str], list[SplitRow]] = defaultdict(list)
    for row in new_split:
        if row.role == "val":
            groups[row.image_sha256, row.mask_sha256].append(row)
    matches: dict[int, SplitRow] = {}
    for row in earlier:
        group = groups[row.image_sha256, row.mask_sha256]
        if row.role == "val" and group:
            matches[row.row] = group.pop(0)  # duplicates of an image are paired one to one
    return matches


def import_scores(source: TrialPaths, target: TrialPaths, rows: RowMapping) -> None:
    """Copy `best/scores.csv` and the saved probabilities, renumbered for the new split.

    Damaged scores, or scores of an image that the new split lacks, are not copied: the report
    then states that the trial has none.
    """
    try:
        # Without scores a trial still helps the sampler, so this never refuses an import.
        scores = _renumber_scores(read_scores(source.scores_csv), rows)
    except (DataError, FileNotFoundError):
        return
    if scores is None:
        return
    write_scores(target.scores_csv, scores)
    for path in sorted(source.probabilities.glob("*.png")):
        number, _, plane = path.name.partition("-")
        if number.isdecimal() and int(number) in rows:
            target_path = target.probabilities / f"{rows[int(number)].row}-{plane}"
            files.write_bytes(target_path, path.read_bytes())


def _renumber_scores(scores: ImageScores, rows: RowMapping) -> ImageScores | None:
    """Scores with row numbers and image names of the new split, in its order.

    Returns:
        None if an image is not in the new split.
    """
    # The report reads scores of different trials side by side, so their order must be the split's.
    numbers = scores.row.tolist()
    if not all(number in rows for number in numbers):
        return None
    new_rows = [rows[number] for number in numbers]
    order = sorted(range(len(new_rows)), key=lambda index: new_rows[index].row)
    columns = {
        field.name: getattr(scores, field.name)[order]
        for field in dataclasses.fields(scores)
        if field.name not in ("row", "image", "extra_columns")
    }
    return ImageScores(
        row=np.array([new_rows[index].row for index in order], np.int64),
        image=tuple(new_rows[index].image for index in order),
        extra_columns={name: column[order] for name, column in scores.extra_columns.items()},
        **columns,
    )


def copy_imports(paths: StudyPaths, definition: StudyDefinition) -> None:
    """Copy the planned trials that this study does not have yet, in order.

    Args:
        paths: folder of the new study.
        definition: its definition, whose `imports` name the trials.

    Raises:
        UserError: an earlier study with trials still to be copied was removed or replaced.
    """
    planned = [(plan, number) for plan in definition.config.imports for number in plan.trials]
    first: dict[str, int] = {}
    rows: dict[str, RowMapping] = {}
    for number, (plan, source_number) in enumerate(planned):
        trial = paths.trial(number)
        if trial.trial_json.exists():
            first.setdefault(config_key(read_record(trial.trial_json)), number)
            continue
        earlier, config = open_earlier_study(plan.study, paths)
        # The name alone is not enough: the study may have been deleted and started again.
        if config.id != plan.id:
            raise UserError(
                f"study {plan.study} was replaced while {paths.name} imported it; "
                f"start {paths.name} again under another name"
            )
        record = _imported_record(earlier.trial(source_number), definition, paths.name, number)
        first_number = first.setdefault(config_key(record), number)
        record = record.model_copy(
            update={"repeats": first_number if first_number < number else None}
        )
        for source, target in (
            (earlier.trial(source_number).epochs_jsonl, trial.epochs_jsonl),
            (earlier.trial(source_number).config_yaml, trial.config_yaml),
        ):
            files.write_bytes(target, source.read_bytes())
        if earlier.trial(source_number).scores_csv.is_file():
            if plan.study not in rows:
                splits = read_split(earlier.split_csv), read_split(paths.split_csv)
                rows[plan.study] = match_rows(*splits)
            import_scores(earlier.trial(source_number), trial, rows[plan.study])
        # Last: trial.json marks a complete copy, so a kill before this line repeats the copy.
        write_record(trial, record)


def _imported_record(
    trial: TrialPaths, definition: StudyDefinition, study: str, number: int
) -> TrialRecord:
    """Record of an earlier trial as a trial of the new study.

    Distributions are those of the new space: group TPE keeps the first range that it saw of a
    parameter, and with the old range never samples the new part (0 of 40 draws, measured).
    """
    record = read_record(trial.trial_json)
    compatibility = check_trial(trial, record, definition)
    if compatibility.reasons:
        raise UserError(f"{trial.root}: changed during the import: {compatibility.reasons[0]}")
    space = definition.space
    update: dict[str, Any] = {
        "study": study,
        "number": number,
        "params": space.to_optuna(compatibility.values),
        "distributions": recorded_distributions(space.by_key[k] for k in compatibility.values),
        "imported": training_origin(trial.root.parent.parent.name, record),
        "repeats": None,
        "second_chance": None,
        "mlflow_run_id": None,
    }
    return record.model_copy(update=update)
