"""What the leading trials predict: the same validation images for each, beside the truth.

Drawn from the kept probabilities and the data folder. Only images of the validation role are
opened; a picture that cannot be had costs a note, never the report.
"""

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from harness.data.overlay import overlay
from harness.data.pictures import LoadedPair, read_image, read_mask, read_pair
from harness.data.resize import resize_image, resize_mask, resize_truth
from harness.data.splits import SplitRow, inside, read_split
from harness.errors import DataError
from harness.paths import TrialPaths
from harness.records import TrialRecord
from harness.report.choosing import Chosen, Floats, choose_images, describe
from harness.report.tables import StudyTables, ranked_records
from harness.training.metrics import per_image, read_scores

Array8 = NDArray[np.uint8]

N_TRIALS = 3
DECIDED = 128  # kept probabilities are np.rint(255 p): p >= 0.5 from here on
CLASS = 1  # the one foreground class of two-class tasks
_PIXELS = (320, 384)  # least and most a panel is stored with


@dataclass(frozen=True, eq=False)
class Prediction:
    """What one trial makes of an image.

    Attributes:
        dice: of the decisions at eval_size, in [0, 1]; None (as iou) where nothing is to be found.
        false_pixels: how many pixels were decided wrongly to be something, at eval_size.
        mask: the decision, 0 or 255, as large as the image.
        overlay: RGB, hits, misses and false alarms in their colours.
    """

    number: int
    rank: int
    dice: float | None
    iou: float | None
    false_pixels: int
    mask: Array8
    overlay: Array8


@dataclass(frozen=True, eq=False)
class GalleryImage:
    """One validation image with its truth and what the leading trials made of it.

    Attributes:
        why: the reason for which it was chosen.
        aspect: width over height of the original; all pictures here are squares.
        image: RGB, uint8 (side, side, 3).
        truth: 0 or 255, uint8 (side, side).
    """

    row: int
    name: str
    why: str
    aspect: float
    image: Array8
    truth: Array8
    predictions: tuple[Prediction, ...]


@dataclass(frozen=True)
class Gallery:
    """The images, and a sentence for everything that could not be shown."""

    images: tuple[GalleryImage, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Trial:
    """A leading trial whose predictions are kept, with what it scored on each row."""

    record: TrialRecord
    rank: int
    paths: TrialPaths
    dice: dict[int, float | None]
    iou: dict[int, float | None]
    false_pixels: dict[int, int]

    def has(self, row: int) -> bool:
        return row in self.dice and self.paths.probability(row, CLASS).is_file()


def build_gallery(tables: StudyTables, data_root: Path | None) -> Gallery:
    """Choose and draw images for the best N_TRIALS trials.

    Args:
        data_root: the folder that split.csv's paths start from; None: it was not found.
    """
    trials, notes = _leading(tables)
    if not trials:
        return Gallery((), (*notes, "No complete trial has kept its predictions."))
    if data_root is None or not data_root.is_dir():
        missing = f"The images of {tables.config.data.root} were not found, so none are shown."
        return Gallery((), (*notes, missing))
    if not tables.paths.split_csv.is_file():
        return Gallery((), (*notes, "split.csv is missing, so no images are shown."))
    rows = {row.row: row for row in read_split(tables.paths.split_csv) if row.role == "val"}
    shared = [row for row in rows.values() if all(trial.has(row.row) for trial in trials)]
    images = []
    for chosen in _choose(tables, data_root, shared, trials[0]):
        try:
            images.append(_draw(tables, data_root, rows[chosen.row], chosen, trials))
        except (DataError, OSError) as error:
            notes.append(f"Not shown: {error}")
    return Gallery(tuple(images), tuple(notes))


def _leading(tables: StudyTables) -> tuple[list[_Trial], list[str]]:
    trials: list[_Trial] = []
    notes: list[str] = []
    for rank, record in enumerate(ranked_records(tables)[:N_TRIALS], start=1):
        paths = tables.paths.trial(record.number)
        if not paths.scores_csv.is_file() or not paths.probabilities.is_dir():
            notes.append(f"Trial {record.number} has not kept its predictions.")
            continue
        scores = read_scores(paths.scores_csv)
        metrics = per_image(scores)
        kept = [i for i in range(len(scores)) if scores.class_index[i] == CLASS]
        seen = {int(scores.row[i]): bool(scores.has_truth[i]) for i in kept}
        values = {
            name: {
                int(scores.row[i]): float(metrics[name][i]) if seen[int(scores.row[i])] else None
                for i in kept
            }
            for name in ("dice", "iou")
        }
        false_pixels = {int(scores.row[i]): int(scores.fp[i]) for i in kept}
        trials.append(_Trial(record, rank, paths, values["dice"], values["iou"], false_pixels))
    return trials, notes


def _choose(
    tables: StudyTables, data_root: Path, rows: Sequence[SplitRow], leader: _Trial
) -> list[Chosen]:
    """By the leading trial's Dice; then the largest false alarm where there is nothing to find."""
    scored = {row.row: leader.dice[row.row] for row in rows}
    dice = {row: value for row, value in scored.items() if value is not None}
    chosen = choose_images(dice, dict(_shapes(tables, data_root, rows)))
    alarms = {r: leader.false_pixels[r] for r, value in scored.items() if value is None}
    worst = max(alarms, key=lambda row: (alarms[row], -row), default=None)
    if worst is not None and alarms[worst] > 0:
        chosen.append(Chosen(worst, "nothing to find: the largest false alarm"))
    return chosen


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
        shape = describe(resize_truth(mask, tables.config.data.eval_size))
        if shape is not None:
            yield row.row, shape


def _draw(
    tables: StudyTables, data_root: Path, row: SplitRow, chosen: Chosen, trials: Sequence[_Trial]
) -> GalleryImage:
    pair = _read_unchanged(tables, data_root, row)
    eval_size = tables.config.data.eval_size
    side = min(max(eval_size, _PIXELS[0]), _PIXELS[1])
    image = resize_image(pair.image, (side, side))
    truth = _shown(resize_truth(pair.mask, eval_size), side)
    predictions = []
    for trial in trials:
        decided = _decision(trial.paths.probability(row.row, CLASS), eval_size)
        shown = _shown(decided, side)
        predictions.append(
            Prediction(
                number=trial.record.number,
                rank=trial.rank,
                dice=trial.dice[row.row],
                iou=trial.iou[row.row],
                false_pixels=trial.false_pixels[row.row],
                mask=255 * shown,
                overlay=overlay(image, truth, shown),
            )
        )
    return GalleryImage(
        row=row.row,
        name=row.image,
        why=chosen.why,
        aspect=pair.image.shape[1] / pair.image.shape[0],
        image=image,
        truth=255 * truth,
        predictions=tuple(predictions),
    )


def _read_unchanged(tables: StudyTables, data_root: Path, row: SplitRow) -> LoadedPair:
    masks = [inside(data_root, mask) for mask in row.masks]
    config = tables.config
    pair = read_pair(inside(data_root, row.image), masks, config.data, config.limits.max_pixels)
    if (pair.image_sha256, pair.mask_sha256) != (row.image_sha256, row.mask_sha256):
        raise DataError(f"{row.image} or its mask has changed since the study was made")
    return pair


def _decision(path: Path, eval_size: int) -> Array8:
    """The decided pixels (eval_size, eval_size), 0 or 1, of a kept probability picture."""
    grey = read_image(path, float(eval_size * eval_size))[..., 0]
    if grey.shape != (eval_size, eval_size):
        raise DataError(f"{path}: {grey.shape[1]} x {grey.shape[0]} pixels, not {eval_size} square")
    return (grey >= DECIDED).astype(np.uint8)


def _shown(mask: Array8, side: int) -> Array8:
    """A mask at the panel's size; enlarged, its pixels stay visible as what they are."""
    if mask.shape[0] > side:
        return resize_mask(mask, (side, side))
    return np.asarray(cv2.resize(mask, (side, side), interpolation=cv2.INTER_NEAREST), np.uint8)


def data_uri(picture: Array8) -> str:
    """A picture as a `data:` address: RGB (H, W, 3) as WebP, a mask (H, W) as PNG, exactly."""
    if picture.ndim == 3:
        kind, stored = "webp", np.ascontiguousarray(picture[..., ::-1])
        settings = [cv2.IMWRITE_WEBP_QUALITY, 86]
    else:
        kind, stored, settings = "png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 9]
    done, data = cv2.imencode(f".{kind}", stored, settings)
    if not done:
        raise DataError(f"a picture of {picture.shape} could not be stored as {kind}")
    return f"data:image/{kind};base64,{base64.b64encode(data.tobytes()).decode('ascii')}"
