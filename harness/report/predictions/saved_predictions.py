"""Saved predictions of leading trials or confirmed weights: scores, masks and probabilities."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from harness.config.data import StudyDataConfig
from harness.core.paths import TrialPaths
from harness.data.files.overlay import foreground_classes
from harness.evaluation.confirm.results import Confirmation
from harness.report.predictions.agreement import Bools
from harness.report.predictions.image_selection import Floats
from harness.report.predictions.panels import (
    Array8,
    label_planes,
    read_decision,
    read_grey_images,
)
from harness.report.tables.missing_data import PREDICTIONS, missing_data_note
from harness.report.tables.study_tables import StudyTables, ranked_records
from harness.training.metrics.image_scores import ImageScores, metrics_per_entry, read_scores


@dataclass(frozen=True)
class LeadingModel:
    """Weights with saved predictions, and their scores by row of split.csv.

    Attributes:
        number: trial of the search; of a confirming trial the one that it confirms.
        rank: of the trial in the search, or of its configuration in the confirmation.
        split_csv: split whose validation images have predictions.
        run: seed or fold of a confirming trial, e.g. `seed 2`; "" for a trial of the search.
        dice: of the predicted mask at eval_size, in [0, 1]; None (as iou) for an image without
            foreground.
        false_pixels: number of false positive pixels.
    """

    number: int
    rank: int
    paths: TrialPaths
    data: StudyDataConfig
    dice: dict[int, float | None]
    iou: dict[int, float | None]
    false_pixels: dict[int, int]
    split_csv: Path
    run: str = ""

    @property
    def name(self) -> str:
        """Name of the weights in sentences, e.g. `trial 3` or `trial 3, seed 1`."""
        return f"trial {self.number}, {self.run}" if self.run else f"trial {self.number}"

    def has_prediction(self, row: int) -> bool:
        """True if the image has scores and the files of its predicted mask exist."""
        return row in self.dice and all(path.is_file() for path in self._decision_paths(row))

    def decision(self, row: int) -> Array8:
        """Predicted mask as `read_decision` returns it. Raises DataError, OSError."""
        return read_decision(self._decision_paths(row), self.data)

    def certainty(self, row: int) -> Array8 | None:
        """Foreground probability times 255, uint8 (E, E); None if it was not saved.

        Of several foreground classes, the highest probability of each pixel.
        """
        paths = [self.paths.probability(row, k) for k in foreground_classes(self.data)]
        if not all(path.is_file() for path in paths):
            return None
        greys = read_grey_images(paths, self.data.eval_size)
        return np.asarray(greys.max(axis=0), np.uint8)

    def decision_planes(self, row: int) -> Bools:
        """Predicted mask as one plane per foreground class, bool (K, E, E)."""
        return np.stack(label_planes(self.decision(row), self.data)).astype(np.bool_)

    def _decision_paths(self, row: int) -> list[Path]:
        if self.data.task == "multiclass":
            return [self.paths.class_map(row)]
        return [self.paths.probability(row, index) for index in self.data.scored_classes]


def load_leading_models(tables: StudyTables) -> tuple[list[LeadingModel], list[str]]:
    """Load the best trials with saved predictions, at most `budget.keep`, and notes on the others.

    An imported trial has predictions only if its study still had them at the time of the import.
    """
    n = tables.config.budget.keep
    ranked = list(enumerate(ranked_records(tables), start=1))
    own_ranks = [rank for rank, record in ranked if record.imported is None][:n]
    # Only own trials are sure to have saved predictions. Imported trials without files may rank
    # before them, so the search goes down to the n-th best own trial.
    last_rank = max([*own_ranks, *(rank for rank, _ in ranked[:n])], default=0)
    models: list[LeadingModel] = []
    missing: list[int] = []
    for rank, record in ranked[:last_rank]:
        paths = tables.paths.trial(record.number)
        if paths.scores_csv.is_file() and paths.probabilities.is_dir():
            if len(models) < n:
                models.append(_load_model(tables, record.number, rank, paths))
        elif len(models) < n:
            missing.append(record.number)
    note = missing_data_note(tables, missing, PREDICTIONS)
    return models, [note] if note else []


def load_confirmed_models(
    tables: StudyTables, confirmation: Confirmation
) -> tuple[list[LeadingModel], list[str]]:
    """Load the recommended weights of each confirmed configuration, the choice first, and notes.

    Of folds, only weights with the validation images of the choice. [] if the predictions of the
    choice are missing: pictures of other weights would be mistaken for its own.
    """
    choice, weights = confirmation.choice, confirmation.weights
    if choice is None or weights is None:
        return [], []
    models: list[LeadingModel] = []
    missing: list[int] = []
    ranks = {row.trial: rank for rank, row in enumerate(confirmation.rows, start=1)}
    verdicts = [row for row in confirmation.rows if row.verdict and row.trial != choice.trial]
    for row in (choice, *verdicts):
        run = confirmation.recommended_run(row)
        if confirmation.kind == "fold" and run.part != weights.part:
            continue
        paths = tables.paths.confirm.trial(run.number)
        if paths.scores_csv.is_file() and paths.probabilities.is_dir():
            model = _load_model(tables, row.trial, ranks[row.trial], paths)
            split_csv = tables.paths.confirm.split_for({confirmation.kind: str(run.part)})
            name = f"{confirmation.kind} {run.part}"
            models.append(replace(model, split_csv=split_csv, run=name))
        else:
            missing.append(row.trial)
    notes = [
        f"The confirmed weights of trial {number} have no saved predictions." for number in missing
    ]
    return ([] if choice.trial in missing else models), notes


def _load_model(tables: StudyTables, number: int, rank: int, paths: TrialPaths) -> LeadingModel:
    scores = read_scores(paths.scores_csv)
    metrics = metrics_per_entry(scores)
    values = {name: _means_by_row(scores, metrics[name]) for name in ("dice", "iou")}
    false_pixels = dict.fromkeys(values["dice"], 0)
    for row, fp in zip(scores.row.tolist(), scores.fp.tolist(), strict=True):
        false_pixels[row] += fp
    return LeadingModel(
        number,
        rank,
        paths,
        tables.config.data,
        values["dice"],
        values["iou"],
        false_pixels,
        tables.paths.split_csv,
    )


def _means_by_row(scores: ImageScores, values: Floats) -> dict[int, float | None]:
    """Metric of each image: the mean over the classes in its true mask; None without any."""
    values_by_row: dict[int, list[float]] = {row: [] for row in scores.row.tolist()}
    columns = (scores.row.tolist(), scores.has_truth.tolist(), values.tolist())
    for row, has_truth, value in zip(*columns, strict=True):
        if has_truth:
            values_by_row[row].append(value)
    return {
        row: sum(row_values) / len(row_values) if row_values else None
        for row, row_values in values_by_row.items()
    }
