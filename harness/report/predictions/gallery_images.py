"""Pictures of one validation image: data, predictions of the best trials, and a window of it."""

from collections.abc import Sequence
from dataclasses import dataclass

from harness.config.data import StudyDataConfig
from harness.core.text import count
from harness.data.splits.splits import SplitRow
from harness.report.predictions.panels import (
    Array8,
    draw_labels,
    draw_prediction_overlay,
    draw_probability,
    draw_strip_picture,
    draw_truth_outline,
    resize_for_panel,
)
from harness.report.predictions.saved_predictions import LeadingModel
from harness.report.predictions.validation_files import ImageOverview, ValidationFiles
from harness.report.predictions.worst_window import WindowDetail, draw_window, find_worst_window

N_TRIALS = 3
_PANEL_SIDE_RANGE = (320, 384)  # pixels; bounds the page's size whatever data.eval_size is


@dataclass(frozen=True)
class PredictionScore:
    """Scores of one trial on one image.

    Attributes:
        dice: of the predicted mask at eval_size, in [0, 1], mean over the foreground classes in the
            true mask; None (as iou) if there are none.
        false_pixels: number of false positive pixels at eval_size.
        run: seed or fold of a confirming trial; "" for a trial of the search.
    """

    number: int
    rank: int
    dice: float | None
    iou: float | None
    false_pixels: int
    run: str = ""

    @property
    def name(self) -> str:
        """Name of the weights, e.g. `trial 3` or `trial 3, seed 1`."""
        return f"trial {self.number}, {self.run}" if self.run else f"trial {self.number}"

    @property
    def short_text(self) -> str:
        """Dice in two decimals, or the number of false pixels where nothing is to be found."""
        if self.dice is None:
            return count(self.false_pixels, "false pixel")
        return f"Dice {self.dice:.2f}"

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
        outline: the image with the outline of the true mask, RGB; of several classes in their
            colours.
        strip_picture: the image with truth and the best model's prediction, for the first screen.
        other_scores: scores of the leading models that are not drawn.
        detail: worst window of the best model; None if the overview shows the image well.
    """

    row: int
    name: str
    reason: str
    other_reasons: tuple[str, ...]
    aspect: float
    image: Array8
    truth: Array8
    outline: Array8
    strip_picture: Array8
    predictions: tuple[TrialPrediction, ...]
    other_scores: tuple[PredictionScore, ...]
    detail: WindowDetail | None = None


def draw_gallery_image(
    files: ValidationFiles,
    row: SplitRow,
    reasons: tuple[str, ...],
    models: Sequence[LeadingModel],
    detail_side: int,
) -> GalleryImage:
    """Draw one validation image with the predictions of the best models.

    Args:
        reasons: of its selection, at least one.
        models: leading models, the best first; N_TRIALS of them are drawn.
        detail_side: side of the window that is shown of a large image, px.

    Raises:
        DataError, OSError: a file cannot be read, or is not that of the split.
    """
    data = files.data
    side = min(max(data.eval_size, _PANEL_SIDE_RANGE[0]), _PANEL_SIDE_RANGE[1])
    overview = files.read_overview(row, side)
    truth = resize_for_panel(overview.truth, side, data)
    return GalleryImage(
        row=row.row,
        name=row.image,
        reason=reasons[0],
        other_reasons=reasons[1:],
        aspect=overview.size[1] / overview.size[0],
        image=overview.image,
        truth=draw_labels(truth, data),
        outline=draw_truth_outline(overview.image, truth, data),
        strip_picture=draw_strip_picture(
            overview.image,
            truth,
            resize_for_panel(models[0].decision(row.row), side, data),
            data,
        ),
        predictions=tuple(
            _draw_prediction(model, row.row, overview.image, truth, data)
            for model in models[:N_TRIALS]
        ),
        other_scores=tuple(
            _prediction_score(model, row.row)
            for model in models[N_TRIALS:]
            if row.row in model.dice
        ),
        detail=_draw_detail(files, row, overview, models[0], detail_side),
    )


def _draw_detail(
    files: ValidationFiles,
    row: SplitRow,
    overview: ImageOverview,
    model: LeadingModel,
    detail_side: int,
) -> WindowDetail | None:
    """The worst window of the best model; None if the overview shows the image well."""
    decision = model.decision(row.row)
    window = find_worst_window(overview.truth, decision, overview.size, detail_side)
    if window is None:
        return None
    image, truth = files.read_window(row, window)
    return draw_window(window, image, truth, decision, overview.size, files.data)


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
        number=model.number,
        rank=model.rank,
        dice=model.dice[row],
        iou=model.iou[row],
        false_pixels=model.false_pixels[row],
        run=model.run,
    )
