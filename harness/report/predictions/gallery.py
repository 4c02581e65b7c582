"""Gallery of sample predictions: the same validation images for each of the best trials.

The pictures are drawn from saved probabilities and the data folder. Only images of the validation
split are opened. A file that cannot be read becomes a note on the page; the report is written.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from harness.core.errors import DataError
from harness.core.text import count
from harness.data.datasets.sources import open_source
from harness.data.splits.splits import SplitRow, read_split
from harness.evaluation.confirm.results import Confirmation
from harness.evaluation.held_out.object_scores import SizeClassCounts
from harness.report.predictions.agreement import (
    find_disputed_images,
    find_suspect_labels,
    mean_disagreement,
)
from harness.report.predictions.class_pixels import ClassPixelCounts
from harness.report.predictions.gallery_images import N_TRIALS, GalleryImage, draw_gallery_image
from harness.report.predictions.image_selection import (
    Floats,
    ImageSelection,
    merge_selections,
    select_graded,
    select_sample_images,
)
from harness.report.predictions.saved_predictions import (
    LeadingModel,
    load_confirmed_models,
    load_leading_models,
)
from harness.report.predictions.truth_summary import TruthSummary
from harness.report.predictions.validation_files import ValidationFiles
from harness.report.predictions.worst_window import window_side
from harness.report.tables.study_tables import StudyTables, read_trial_settings

MAX_COMPARED = 1000  # masks that are read: half a minute of 352 px and five models


@dataclass(frozen=True)
class PredictionGallery:
    """Images of the gallery, and a note for everything that could not be shown.

    Attributes:
        shapes: `describe_shape` of the masks that were read, by row, of two-class tasks.
        weights: name of the weights that choose the images and are drawn first; "" without any.
        graded: rows from the worst to the best by Dice of these weights.
        n_validation: number of validation images with predictions of all drawn models.
        n_compared: number of masks that were read.
        class_pixels: pixels of several classes in these masks and predictions; None for two.
        objects: objects by size in these masks and in the predictions of the leader.
    """

    images: tuple[GalleryImage, ...]
    notes: tuple[str, ...]
    shapes: Mapping[int, Floats] = field(default_factory=dict)
    n_compared: int = 0
    objects: tuple[SizeClassCounts, ...] = ()
    weights: str = ""
    graded: tuple[int, ...] = ()
    n_validation: int = 0
    class_pixels: ClassPixelCounts | None = None

    @property
    def sentence(self) -> str:
        """Weights, and their Dice on the worst and on the best image."""
        scores = [image.predictions[0].score.dice for image in self.strip]
        graded = [dice for dice in scores if dice is not None]
        if not graded:
            return f"Predictions of {self.weights}."
        return (
            f"Predictions of {self.weights} on {count(self.n_validation, 'validation image')}: "
            f"Dice {min(graded):.2f} on the worst, {max(graded):.2f} on the best."
        )

    @property
    def strip(self) -> tuple[GalleryImage, ...]:
        """Images from worst to best, for the top of the page."""
        return tuple(image for image in self.images if image.row in self.graded)


def build_gallery(
    tables: StudyTables, data_root: Path | None, confirmation: Confirmation | None = None
) -> PredictionGallery:
    """Select images by the scores of all leading models and draw the best N_TRIALS models.

    Args:
        data_root: folder that the paths of split.csv start from; None if it is not on this machine.
        confirmation: after its decision the models are the confirmed weights, the choice first;
            before it, and without one, the leading trials of the search.
    """
    is_decided = confirmation is not None and confirmation.decision is not None
    if confirmation is not None and is_decided:
        models, notes = load_confirmed_models(tables, confirmation)
    else:
        models, notes = load_leading_models(tables)
    if not models:
        reason = "" if is_decided else "No complete trial has saved predictions."
        return PredictionGallery((), tuple(note for note in (*notes, reason) if note))
    if data_root is None or not data_root.is_dir():
        missing = f"The images of {tables.config.data.root} were not found, so no image is shown."
        return PredictionGallery((), (*notes, missing))
    if not models[0].split_csv.is_file():
        missing = f"{models[0].split_csv.name} is missing, so no image is shown."
        return PredictionGallery((), (*notes, missing))
    rows = {row.row: row for row in read_split(models[0].split_csv) if row.role == "val"}
    files = ValidationFiles(
        open_source(data_root), tables.config.data, tables.config.limits.max_pixels
    )
    common_rows = _common_rows(rows.values(), models[:N_TRIALS])
    compared_rows = _sample_rows(common_rows)
    if len(compared_rows) < len(common_rows):
        notes.append(
            f"Variety, disagreement and objects are those of {len(compared_rows)} of "
            f"{count(len(common_rows), 'validation image')}, drawn with seed 0."
        )
    # Masks of the compared rows are read, images only of the selected ones.
    summary = TruthSummary(tables.config.data)
    for row in compared_rows:
        summary.add(row, files, models[0])
    side = window_side(read_trial_settings(models[0].paths))
    images = []
    for number, reasons in _choose_rows(common_rows, compared_rows, summary.shapes, models):
        try:
            images.append(draw_gallery_image(files, rows[number], reasons, models, side))
        except (DataError, OSError) as error:
            # The page is shared with others: it names files relative to the data.
            notes.append("Not shown: " + str(error).replace(f"{data_root}/", ""))
    if not images and not notes:
        notes.append(_no_image_note(common_rows))
    is_binary = tables.config.data.task == "binary"
    return PredictionGallery(
        tuple(images),
        tuple(notes),
        summary.shapes if is_binary else {},
        summary.n_masks,
        tuple(summary.objects()),
        models[0].name,
        tuple(selection.row for selection in select_graded(_scored_rows(common_rows, models[0]))),
        len(common_rows),
        summary.class_pixels,
    )


def _sample_rows(rows: Sequence[SplitRow]) -> list[SplitRow]:
    """At most MAX_COMPARED rows, drawn with seed 0, in their order."""
    if len(rows) <= MAX_COMPARED:
        return list(rows)
    chosen = np.random.default_rng(0).choice(len(rows), MAX_COMPARED, replace=False)
    return [rows[index] for index in sorted(chosen.tolist())]


def _common_rows(rows: Iterable[SplitRow], models: Sequence[LeadingModel]) -> list[SplitRow]:
    """Rows of which all these models have a prediction."""
    return [row for row in rows if all(model.has_prediction(row.row) for model in models)]


def _no_image_note(common_rows: Sequence[SplitRow]) -> str:
    """Reason for an empty gallery although predictions and images exist."""
    if not common_rows:
        return "No validation image has saved predictions of all trials of the gallery."
    return (
        "No validation image has foreground, and no foreground was predicted in any, so no image "
        "is shown."
    )


def _choose_rows(
    rows: Sequence[SplitRow],
    compared_rows: Sequence[SplitRow],
    shapes: Mapping[int, Floats],
    models: Sequence[LeadingModel],
) -> list[tuple[int, tuple[str, ...]]]:
    """Rows and reasons: by the leading trial's scores, by variety, then by all leading models."""
    leader, groups = models[0], []
    dice = _scored_rows(rows, leader)
    groups.append(select_sample_images(dice, shapes))
    false_alarms = {row.row: leader.false_pixels[row.row] for row in rows if row.row not in dice}
    # -row: of equal numbers the lowest row, whatever the order of the dict.
    worst_row = max(false_alarms, key=lambda row: (false_alarms[row], -row), default=None)
    if worst_row is not None and false_alarms[worst_row] > 0:
        reason = "no foreground: the most false positive pixels"
        groups.append([ImageSelection(worst_row, reason)])
    if len(models) > 1:
        common = [row.row for row in _common_rows(rows, models)]
        compared = [row.row for row in _common_rows(compared_rows, models)]
        disagreements = dict(_row_disagreements(models, compared))
        groups.append(find_disputed_images(disagreements, len(models)))
        scores = {row: [model.dice[row] for model in models] for row in common}
        false_pixels = {row: [model.false_pixels[row] for model in models] for row in common}
        groups.append(find_suspect_labels(scores, false_pixels))
    return merge_selections(*groups)


def _scored_rows(rows: Sequence[SplitRow], model: LeadingModel) -> dict[int, float]:
    """Dice of a model by row, of the rows with foreground."""
    return {row.row: value for row in rows if (value := model.dice[row.row]) is not None}


def _row_disagreements(
    models: Sequence[LeadingModel], rows: Iterable[int]
) -> Iterable[tuple[int, float]]:
    """Disagreement of each row whose predictions can be read.

    An unreadable row is skipped here and gets its note when it is selected and drawn.
    """
    for row in rows:
        try:
            yield row, mean_disagreement([model.decision_planes(row) for model in models])
        except (DataError, OSError):
            continue
