"""What the leading trials kept of each validation image: scores, decisions, probabilities."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.config.data import StudyDataConfig
from harness.core.paths import TrialPaths
from harness.core.records import TrialRecord
from harness.data.files.overlay import background_classes
from harness.report.predictions.agreement import Bools
from harness.report.predictions.image_selection import Floats
from harness.report.predictions.panels import Array8, read_decision, read_grey_images
from harness.report.tables.missing_data import PREDICTIONS, missing_data_note
from harness.report.tables.study_tables import StudyTables, ranked_records
from harness.training.metrics.image_scores import ImageScores, metrics_per_entry, read_scores


@dataclass(frozen=True)
class LeadingModel:
    """A leading trial whose predictions are kept, with what it scored on each row.

    Attributes:
        dice: of the decisions at eval_size, in [0, 1], by row of split.csv; None (as iou) where
            there is nothing to find.
        false_pixels: how many pixels were decided wrongly to be something.
    """

    record: TrialRecord
    rank: int
    paths: TrialPaths
    data: StudyDataConfig
    dice: dict[int, float | None]
    iou: dict[int, float | None]
    false_pixels: dict[int, int]

    def has_prediction(self, row: int) -> bool:
        """Whether an image was scored and its decisions are there."""
        return row in self.dice and all(path.is_file() for path in self._decision_paths(row))

    def decision(self, row: int) -> Array8:
        """What was decided, as `read_decision` gives it. Raises DataError, OSError."""
        return read_decision(self._decision_paths(row), self.data)

    def certainty(self, row: int) -> Array8 | None:
        """The probability of what is to be found, 255 times, uint8 (E, E); None: not kept.

        Of several classes the highest in each pixel.
        """
        paths = [self.paths.probability(row, k) for k in foreground_classes(self.data)]
        if not all(path.is_file() for path in paths):
            return None
        greys = read_grey_images(paths, self.data.eval_size)
        return np.asarray(greys.max(axis=0), np.uint8)

    def decision_planes(self, row: int) -> Bools:
        """The decision as planes, bool (K, E, E), one for each class that is to be found."""
        decision = self.decision(row)
        if self.data.task == "binary":
            return np.asarray(decision[None] == 1)
        if self.data.task == "multiclass":
            return np.stack([decision == k for k in foreground_classes(self.data)])
        return np.stack([decision[..., k] == 1 for k in foreground_classes(self.data)])

    def _decision_paths(self, row: int) -> list[Path]:
        if self.data.task == "multiclass":
            return [self.paths.class_map(row)]
        return [self.paths.probability(row, index) for index in self.data.scored_classes]


def load_leading_models(tables: StudyTables) -> tuple[list[LeadingModel], list[str]]:
    """The best trials that kept predictions, at most `budget.keep`, and who of the best kept none.

    An imported trial has its predictions where its study still had them.
    """
    n = tables.config.budget.keep
    ranked = list(enumerate(ranked_records(tables), start=1))
    own_ranks = [rank for rank, record in ranked if record.imported is None][:n]
    last_rank = max(
        [*own_ranks, *(rank for rank, _ in ranked[:n])], default=0
    )  # ours displace no imported
    models: list[LeadingModel] = []
    missing: list[int] = []
    for rank, record in ranked[:last_rank]:
        paths = tables.paths.trial(record.number)
        if paths.scores_csv.is_file() and paths.probabilities.is_dir():
            if len(models) < n:
                models.append(_load_model(tables, rank, record, paths))
        elif len(models) < n:
            missing.append(record.number)
    note = missing_data_note(tables, missing, PREDICTIONS)
    return models, [note] if note else []


def _load_model(
    tables: StudyTables, rank: int, record: TrialRecord, paths: TrialPaths
) -> LeadingModel:
    scores = read_scores(paths.scores_csv)
    metrics = metrics_per_entry(scores)
    values = {name: _means_by_row(scores, metrics[name]) for name in ("dice", "iou")}
    false_pixels = dict.fromkeys(values["dice"], 0)
    for row, fp in zip(scores.row.tolist(), scores.fp.tolist(), strict=True):
        false_pixels[row] += fp
    data = tables.config.data
    return LeadingModel(record, rank, paths, data, values["dice"], values["iou"], false_pixels)


def _means_by_row(scores: ImageScores, values: Floats) -> dict[int, float | None]:
    """A metric of each image: the mean over the classes that its truth has, None without any."""
    values_by_row: dict[int, list[float]] = {row: [] for row in scores.row.tolist()}
    columns = (scores.row.tolist(), scores.has_truth.tolist(), values.tolist())
    for row, has_truth, value in zip(*columns, strict=True):
        if has_truth:
            values_by_row[row].append(value)
    return {
        row: sum(row_values) / len(row_values) if row_values else None
        for row, row_values in values_by_row.items()
    }


def foreground_classes(data: StudyDataConfig) -> list[int]:
    """The classes to be found: those that are scored, without a background."""
    background = () if data.task == "binary" else background_classes(data.classes)
    return [k for k in data.scored_classes if k not in background] or list(data.scored_classes)
