"""Gallery of sample predictions: the same validation images for each of the best trials.

The pictures are drawn from saved probabilities and the data folder. Only images of the validation
split are opened. A file that cannot be read becomes a note on the page; the report is written.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from harness.config.data import IGNORE_INDEX, StudyDataConfig
from harness.core.errors import DataError
from harness.core.text import count
from harness.data.datasets.sources import open_source
from harness.data.files.image_io import LoadedPair, read_mask, read_pair
from harness.data.files.overlay import as_rgb
from harness.data.files.resize import resize_image, resize_truth
from harness.data.splits.splits import SplitRow, read_split
from harness.report.predictions.agreement import (
    find_disputed_images,
    find_suspect_labels,
    mean_disagreement,
)
from harness.report.predictions.image_selection import (
    Floats,
    ImageSelection,
    describe_shape,
    merge_selections,
    select_sample_images,
)
from harness.report.predictions.panels import (
    Array8,
    draw_labels,
    draw_prediction_overlay,
    draw_probability,
    resize_for_panel,
)
from harness.report.predictions.saved_predictions import LeadingModel, load_leading_models
from harness.report.tables.study_tables import StudyTables

N_TRIALS = 3
_PANEL_SIDE_RANGE = (320, 384)  # pixels; bounds the page's size whatever data.eval_size is


@dataclass(frozen=True)
class PredictionScore:
    """Scores of one trial on one image.

    Attributes:
        dice: of the predicted mask at eval_size, in [0, 1], mean over the foreground classes in the
            true mask; None (as iou) if there are none.
        false_pixels: number of false positive pixels at eval_size.
    """

    number: int
    rank: int
    dice: float | None
    iou: float | None
    false_pixels: int

    @property
    def text(self) -> str:
        """Scores as printed next to the pictures."""
        if self.dice is None or self.iou is None:
            return count(self.false_pixels, "false pixel")
        return f"Dice {self.dice:.3f} · IoU {self.iou:.3f}"


@dataclass(frozen=True, eq=False)
class TrialPrediction:
    """Pictures of one trial's prediction for an image.

    Attributes:
        mask: the predicted mask in the style of the true one and at the image's size.
        probability: RGB, dark blue (0) to yellow (1); None if only class indices were saved.
        overlay: RGB, true positives, false negatives and false positives in their colours; of
            several classes the predicted ones, wrong pixels hatched.
    """

    score: PredictionScore
    mask: Array8
    probability: Array8 | None
    overlay: Array8


@dataclass(frozen=True, eq=False)
class GalleryImage:
    """One validation image with its true mask and the predictions of the best trials.

    Attributes:
        reason: first reason of the selection.
        other_reasons: further reasons.
        aspect: width over height of the original; all pictures here are squares.
        image: RGB, uint8 (side, side, 3).
        truth: true mask, 0 or 255, uint8 (side, side); of several classes their colours, RGB.
        other_scores: scores of the leading models that are not drawn.
    """

    row: int
    name: str
    reason: str
    other_reasons: tuple[str, ...]
    aspect: float
    image: Array8
    truth: Array8
    predictions: tuple[TrialPrediction, ...]
    other_scores: tuple[PredictionScore, ...]


@dataclass(frozen=True)
class PredictionGallery:
    """Images of the gallery, and a note for everything that could not be shown.

    Attributes:
        shapes: `describe_shape` of the masks that were read, by row, of two-class tasks.
    """

    images: tuple[GalleryImage, ...]
    notes: tuple[str, ...]
    shapes: Mapping[int, Floats] = field(default_factory=dict)


def build_gallery(tables: StudyTables, data_root: Path | None) -> PredictionGallery:
    """Select images by the scores of all leading models and draw the best N_TRIALS models.

    Args:
        data_root: folder that the paths of split.csv start from; None if it is not on this machine.
    """
    models, notes = load_leading_models(tables)
    if not models:
        return PredictionGallery((), (*notes, "No complete trial has saved predictions."))
    if data_root is None or not data_root.is_dir():
        missing = f"The images of {tables.config.data.root} were not found, so no image is shown."
        return PredictionGallery((), (*notes, missing))
    if not tables.paths.split_csv.is_file():
        return PredictionGallery((), (*notes, "split.csv is missing, so no image is shown."))
    rows = {row.row: row for row in read_split(tables.paths.split_csv) if row.role == "val"}
    common_rows = _common_rows(rows.values(), models[:N_TRIALS])
    # Masks of all candidate rows are read, images only of the selected ones.
    shapes = dict(_truth_descriptors(tables, data_root, common_rows))
    images = []
    for number, reasons in _choose_rows(common_rows, shapes, models):
        try:
            images.append(_draw_image(tables, data_root, rows[number], reasons, models))
        except (DataError, OSError) as error:
            # The page is shared with others: it names files relative to the data.
            notes.append("Not shown: " + str(error).replace(f"{data_root}/", ""))
    if not images and not notes:
        notes.append(_no_image_note(common_rows))
    is_binary = tables.config.data.task == "binary"
    return PredictionGallery(tuple(images), tuple(notes), shapes if is_binary else {})


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
    rows: Sequence[SplitRow], shapes: Mapping[int, Floats], models: Sequence[LeadingModel]
) -> list[tuple[int, tuple[str, ...]]]:
    """Rows and reasons: by the leading trial's scores, by variety, then by all leading models."""
    leader, groups = models[0], []
    dice = {row.row: value for row in rows if (value := leader.dice[row.row]) is not None}
    groups.append(select_sample_images(dice, shapes))
    false_alarms = {row.row: leader.false_pixels[row.row] for row in rows if row.row not in dice}
    # -row: of equal numbers the lowest row, whatever the order of the dict.
    worst_row = max(false_alarms, key=lambda row: (false_alarms[row], -row), default=None)
    if worst_row is not None and false_alarms[worst_row] > 0:
        reason = "no foreground: the most false positive pixels"
        groups.append([ImageSelection(worst_row, reason)])
    if len(models) > 1:
        common = [row.row for row in _common_rows(rows, models)]
        disagreements = dict(_row_disagreements(models, common))
        groups.append(find_disputed_images(disagreements, len(models)))
        scores = {row: [model.dice[row] for model in models] for row in common}
        false_pixels = {row: [model.false_pixels[row] for model in models] for row in common}
        groups.append(find_suspect_labels(scores, false_pixels))
    return merge_selections(*groups)


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


def _truth_descriptors(
    tables: StudyTables, data_root: Path, rows: Iterable[SplitRow]
) -> Iterable[tuple[int, Floats]]:
    """Descriptors of the masks that can be read; an unreadable one gets its note when drawn."""
    source = open_source(data_root)
    for row in rows:
        try:
            mask = read_mask(source, row.masks, tables.config.data, tables.config.limits.max_pixels)
        except (DataError, OSError):
            continue
        data = tables.config.data
        shape = _truth_descriptor(
            resize_truth(mask, data.eval_size, nearest=data.uses_nearest_resize), data
        )
        if shape is not None:
            yield row.row, shape


def _truth_descriptor(truth: Array8, data: StudyDataConfig) -> Floats | None:
    """Descriptor of a mask for variety: size and shape, or the share of each of several classes."""
    if data.task == "binary":
        # Ignored pixels count as background, or each ignored area would be an object.
        return describe_shape(np.where(truth == IGNORE_INDEX, 0, truth).astype(np.uint8))
    if data.task == "multilabel":
        return np.asarray((truth == 1).mean(axis=(0, 1)), np.float64)
    return np.array([(truth == k).mean() for k in data.scored_classes])


def _draw_image(
    tables: StudyTables,
    data_root: Path,
    row: SplitRow,
    reasons: tuple[str, ...],
    models: Sequence[LeadingModel],
) -> GalleryImage:
    pair = _read_verified_pair(tables, data_root, row)
    data = tables.config.data
    side = min(max(data.eval_size, _PANEL_SIDE_RANGE[0]), _PANEL_SIDE_RANGE[1])
    image = resize_image(as_rgb(pair.image, data.range), (side, side))
    truth = resize_for_panel(
        resize_truth(pair.mask, data.eval_size, nearest=data.uses_nearest_resize), side, data
    )
    return GalleryImage(
        row=row.row,
        name=row.image,
        reason=reasons[0],
        other_reasons=reasons[1:],
        aspect=pair.image.shape[1] / pair.image.shape[0],
        image=image,
        truth=draw_labels(truth, data),
        predictions=tuple(
            _draw_prediction(model, row.row, image, truth, data) for model in models[:N_TRIALS]
        ),
        other_scores=tuple(
            _prediction_score(model, row.row)
            for model in models[N_TRIALS:]
            if row.row in model.dice
        ),
    )


def _draw_prediction(
    model: LeadingModel, row: int, image: Array8, truth: Array8, data: StudyDataConfig
) -> TrialPrediction:
    side = image.shape[0]
    decision = resize_for_panel(model.decision(row), side, data)
    certainty = model.certainty(row)
    return TrialPrediction(
        score=_prediction_score(model, row),
        mask=draw_labels(decision, data),
        probability=None if certainty is None else draw_probability(certainty, side),
        overlay=draw_prediction_overlay(image, truth, decision, data),
    )


def _prediction_score(model: LeadingModel, row: int) -> PredictionScore:
    return PredictionScore(
        number=model.record.number,
        rank=model.rank,
        dice=model.dice[row],
        iou=model.iou[row],
        false_pixels=model.false_pixels[row],
    )


def _read_verified_pair(tables: StudyTables, data_root: Path, row: SplitRow) -> LoadedPair:
    source, config = open_source(data_root), tables.config
    return read_pair(
        source, row.image, row.masks, config.data, config.limits.max_pixels, row.hashes
    )
