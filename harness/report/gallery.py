"""What the leading trials predict: the same validation images for each, beside the truth.

Drawn from the kept probabilities and the data folder. Only images of the validation role are
opened; a picture that cannot be had costs a note, never the report.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from harness.data.overlay import as_rgb
from harness.data.pictures import LoadedPair, read_mask, read_pair
from harness.data.resize import resize_image, resize_truth
from harness.data.splits import SplitRow, inside, read_split
from harness.data_config import VOID, StudyDataConfig
from harness.errors import DataError
from harness.report.agreement import disagreement, disputed, suspects
from harness.report.choosing import Chosen, Floats, choose_images, describe, gather
from harness.report.kept import Model, leading_models
from harness.report.panels import Array8, flat, overlaid, probable, shown_at
from harness.report.tables import StudyTables
from harness.report.wording import count

N_TRIALS = 3
_PIXELS = (320, 384)  # least and most a panel is stored with


@dataclass(frozen=True)
class Score:
    """How well one trial did on an image.

    Attributes:
        dice: of the decisions at eval_size, in [0, 1]; the mean over the classes to be found,
            None (as iou) where there is none.
        false_pixels: how many pixels were decided wrongly to be something, at eval_size.
    """

    number: int
    rank: int
    dice: float | None
    iou: float | None
    false_pixels: int

    @property
    def text(self) -> str:
        """The scores as they stand beside the pictures."""
        if self.dice is None or self.iou is None:
            return count(self.false_pixels, "false pixel")
        return f"Dice {self.dice:.3f} · IoU {self.iou:.3f}"


@dataclass(frozen=True, eq=False)
class Prediction:
    """What one trial makes of an image.

    Attributes:
        mask: the decision, drawn as the truth, as large as the image.
        probability: RGB, dark blue (0) to yellow (1); None where only decisions were kept.
        overlay: RGB, hits, misses and false alarms in their colours; of several classes the
            decided ones, wrong pixels hatched.
    """

    score: Score
    mask: Array8
    probability: Array8 | None
    overlay: Array8


@dataclass(frozen=True, eq=False)
class GalleryImage:
    """One validation image with its truth and what the leading trials made of it.

    Attributes:
        why: the first reason for which it was chosen; `also`: the others.
        aspect: width over height of the original; all pictures here are squares.
        image: RGB, uint8 (side, side, 3).
        truth: 0 or 255, uint8 (side, side); of several classes their colours, RGB.
        others: scores of the leading models that are not drawn.
    """

    row: int
    name: str
    why: str
    also: tuple[str, ...]
    aspect: float
    image: Array8
    truth: Array8
    predictions: tuple[Prediction, ...]
    others: tuple[Score, ...]


@dataclass(frozen=True)
class Gallery:
    """The images, and a sentence for everything that could not be shown.

    Attributes:
        shapes: `describe` of the truths that were read, by row; of two-class tasks.
    """

    images: tuple[GalleryImage, ...]
    notes: tuple[str, ...]
    shapes: Mapping[int, Floats] = field(default_factory=dict)


def build_gallery(tables: StudyTables, data_root: Path | None) -> Gallery:
    """Choose images by what the leading models make of them, and draw the best N_TRIALS of those.

    Args:
        data_root: the folder that split.csv's paths start from; None: it was not found.
    """
    models, notes = leading_models(tables)
    if not models:
        return Gallery((), (*notes, "No complete trial has kept its predictions."))
    if data_root is None or not data_root.is_dir():
        missing = f"The images of {tables.config.data.root} were not found, so none are shown."
        return Gallery((), (*notes, missing))
    if not tables.paths.split_csv.is_file():
        return Gallery((), (*notes, "split.csv is missing, so no images are shown."))
    rows = {row.row: row for row in read_split(tables.paths.split_csv) if row.role == "val"}
    drawn = models[:N_TRIALS]
    shared = [row for row in rows.values() if all(model.has(row.row) for model in drawn)]
    shapes = dict(_shapes(tables, data_root, shared))
    images = []
    for number, reasons in _choose(shared, shapes, models):
        try:
            images.append(_draw(tables, data_root, rows[number], reasons, models))
        except (DataError, OSError) as error:
            notes.append(f"Not shown: {error}")
    if not images and not notes:
        notes.append(_none_chosen(shared))
    two = tables.config.data.task == "binary"
    return Gallery(tuple(images), tuple(notes), shapes if two else {})


def _none_chosen(shared: Sequence[SplitRow]) -> str:
    """Why no image is shown although models and images are there."""
    if not shared:
        return "No validation image has kept predictions of all trials that would be shown."
    return (
        "No validation image has something to find, and nothing was found in any, so none is shown."
    )


def _choose(
    rows: Sequence[SplitRow], shapes: Mapping[int, Floats], models: Sequence[Model]
) -> list[tuple[int, tuple[str, ...]]]:
    """By the leader's Dice and the shapes of truths; then by what all leading models say."""
    leader, groups = models[0], []
    dice = {row.row: value for row in rows if (value := leader.dice[row.row]) is not None}
    groups.append(choose_images(dice, shapes))
    alarms = {row.row: leader.false_pixels[row.row] for row in rows if row.row not in dice}
    worst = max(alarms, key=lambda row: (alarms[row], -row), default=None)
    if worst is not None and alarms[worst] > 0:
        groups.append([Chosen(worst, "nothing to find: the largest false alarm")])
    if len(models) > 1:
        common = [row.row for row in rows if all(model.has(row.row) for model in models)]
        groups.append(disputed(dict(_disagreements(models, common)), len(models)))
        scores = {row: [model.dice[row] for model in models] for row in common}
        alarm = {row: [model.false_pixels[row] for model in models] for row in common}
        groups.append(suspects(scores, alarm))
    return gather(*groups)


def _disagreements(models: Sequence[Model], rows: Iterable[int]) -> Iterable[tuple[int, float]]:
    """Of each row whose pictures can be read; those that cannot are noted if they are chosen."""
    for row in rows:
        try:
            yield row, disagreement([model.planes(row) for model in models])
        except (DataError, OSError):
            continue


def _shapes(
    tables: StudyTables, data_root: Path, rows: Iterable[SplitRow]
) -> Iterable[tuple[int, Floats]]:
    """Descriptors of the masks that can be read; those that cannot are noted if they are chosen."""
    for row in rows:
        try:
            masks = [inside(data_root, mask) for mask in row.masks]
            mask = read_mask(masks, tables.config.data, tables.config.limits.max_pixels)
        except (DataError, OSError):
            continue
        data = tables.config.data
        shape = _described(resize_truth(mask, data.eval_size, nearest=data.indexed), data)
        if shape is not None:
            yield row.row, shape


def _described(truth: Array8, data: StudyDataConfig) -> Floats | None:
    """What tells truths apart: size and shape; of several classes the share of each."""
    if data.task == "binary":
        return describe(np.where(truth == VOID, 0, truth).astype(np.uint8))
    if data.task == "multilabel":
        return np.asarray((truth == 1).mean(axis=(0, 1)), np.float64)
    return np.array([(truth == k).mean() for k in data.scored_classes])


def _draw(
    tables: StudyTables,
    data_root: Path,
    row: SplitRow,
    reasons: tuple[str, ...],
    models: Sequence[Model],
) -> GalleryImage:
    pair = _read_unchanged(tables, data_root, row)
    data = tables.config.data
    side = min(max(data.eval_size, _PIXELS[0]), _PIXELS[1])
    image = resize_image(as_rgb(pair.image, data.range), (side, side))
    truth = shown_at(resize_truth(pair.mask, data.eval_size, nearest=data.indexed), side, data)
    return GalleryImage(
        row=row.row,
        name=row.image,
        why=reasons[0],
        also=reasons[1:],
        aspect=pair.image.shape[1] / pair.image.shape[0],
        image=image,
        truth=flat(truth, data),
        predictions=tuple(
            _predicted(model, row.row, image, truth, data) for model in models[:N_TRIALS]
        ),
        others=tuple(
            _score(model, row.row) for model in models[N_TRIALS:] if row.row in model.dice
        ),
    )


def _predicted(
    model: Model, row: int, image: Array8, truth: Array8, data: StudyDataConfig
) -> Prediction:
    side = image.shape[0]
    shown = shown_at(model.decision(row), side, data)
    certainty = model.certainty(row)
    return Prediction(
        score=_score(model, row),
        mask=flat(shown, data),
        probability=None if certainty is None else probable(certainty, side),
        overlay=overlaid(image, truth, shown, data),
    )


def _score(model: Model, row: int) -> Score:
    return Score(
        number=model.record.number,
        rank=model.rank,
        dice=model.dice[row],
        iou=model.iou[row],
        false_pixels=model.false_pixels[row],
    )


def _read_unchanged(tables: StudyTables, data_root: Path, row: SplitRow) -> LoadedPair:
    masks = [inside(data_root, mask) for mask in row.masks]
    config = tables.config
    pair = read_pair(inside(data_root, row.image), masks, config.data, config.limits.max_pixels)
    if (pair.image_sha256, pair.mask_sha256) != (row.image_sha256, row.mask_sha256):
        raise DataError(f"{row.image} or its mask has changed since the study was made")
    return pair
