"""What the leading trials predict: the same validation images for each, beside the truth.

Drawn from the kept probabilities and the data folder. Only images of the validation role are
opened; a picture that cannot be had costs a note, never the report.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.data.overlay import as_rgb
from harness.data.pictures import LoadedPair, read_mask, read_pair
from harness.data.resize import resize_image, resize_truth
from harness.data.splits import SplitRow, inside, read_split
from harness.data_config import VOID, StudyDataConfig
from harness.errors import DataError
from harness.paths import TrialPaths
from harness.records import TrialRecord
from harness.report.choosing import Chosen, Floats, choose_images, describe
from harness.report.panels import flat, overlaid, read_decision, shown_at
from harness.report.tables import StudyTables, ranked_records
from harness.training.metrics import ImageScores, per_image, read_scores

Array8 = NDArray[np.uint8]

N_TRIALS = 3
_PIXELS = (320, 384)  # least and most a panel is stored with


@dataclass(frozen=True, eq=False)
class Prediction:
    """What one trial makes of an image.

    Attributes:
        dice: of the decisions at eval_size, in [0, 1]; the mean over the classes to be found,
            None (as iou) where there is none.
        false_pixels: how many pixels were decided wrongly to be something, at eval_size.
        mask: the decision, drawn as the truth, as large as the image.
        overlay: RGB, hits, misses and false alarms in their colours; of several classes the
            decided ones, wrong pixels hatched.
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
        truth: 0 or 255, uint8 (side, side); of several classes their colours, RGB.
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

    def has(self, row: int, data: StudyDataConfig) -> bool:
        return row in self.dice and all(path.is_file() for path in _kept(self.paths, row, data))


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
    shared = [
        row for row in rows.values() if all(t.has(row.row, tables.config.data) for t in trials)
    ]
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
    ranked = list(enumerate(ranked_records(tables), start=1))
    own = [(rank, record) for rank, record in ranked if record.imported is None][:N_TRIALS]
    if any(record.imported is not None for _, record in ranked[:N_TRIALS]):
        notes.append("Imported trials came without their predictions, so the next ones are shown.")
    for rank, record in own:
        paths = tables.paths.trial(record.number)
        if not paths.scores_csv.is_file() or not paths.probabilities.is_dir():
            notes.append(f"Trial {record.number} has not kept its predictions.")
            continue
        scores = read_scores(paths.scores_csv)
        metrics = per_image(scores)
        values = {name: _by_row(scores, metrics[name]) for name in ("dice", "iou")}
        false_pixels = dict.fromkeys(values["dice"], 0)
        for row, fp in zip(scores.row.tolist(), scores.fp.tolist(), strict=True):
            false_pixels[row] += fp
        trials.append(_Trial(record, rank, paths, values["dice"], values["iou"], false_pixels))
    return trials, notes


def _by_row(scores: ImageScores, values: Floats) -> dict[int, float | None]:
    """A metric of each image: the mean over the classes that its truth has, None without any."""
    found: dict[int, list[float]] = {row: [] for row in scores.row.tolist()}
    for row, has, value in zip(
        scores.row.tolist(), scores.has_truth.tolist(), values.tolist(), strict=True
    ):
        if has:
            found[row].append(value)
    return {row: sum(each) / len(each) if each else None for row, each in found.items()}


def _kept(paths: TrialPaths, row: int, data: StudyDataConfig) -> list[Path]:
    """The pictures that the decisions of an image are read from."""
    if data.task == "multiclass":
        return [paths.decision(row)]
    return [paths.probability(row, index) for index in data.scored_classes]


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
    tables: StudyTables, data_root: Path, row: SplitRow, chosen: Chosen, trials: Sequence[_Trial]
) -> GalleryImage:
    pair = _read_unchanged(tables, data_root, row)
    data = tables.config.data
    side = min(max(data.eval_size, _PIXELS[0]), _PIXELS[1])
    image = resize_image(as_rgb(pair.image, data.range), (side, side))
    truth = shown_at(resize_truth(pair.mask, data.eval_size, nearest=data.indexed), side, data)
    predictions = []
    for trial in trials:
        shown = shown_at(read_decision(_kept(trial.paths, row.row, data), data), side, data)
        predictions.append(
            Prediction(
                number=trial.record.number,
                rank=trial.rank,
                dice=trial.dice[row.row],
                iou=trial.iou[row.row],
                false_pixels=trial.false_pixels[row.row],
                mask=flat(shown, data),
                overlay=overlaid(image, truth, shown, data),
            )
        )
    return GalleryImage(
        row=row.row,
        name=row.image,
        why=chosen.why,
        aspect=pair.image.shape[1] / pair.image.shape[0],
        image=image,
        truth=flat(truth, data),
        predictions=tuple(predictions),
    )


def _read_unchanged(tables: StudyTables, data_root: Path, row: SplitRow) -> LoadedPair:
    masks = [inside(data_root, mask) for mask in row.masks]
    config = tables.config
    pair = read_pair(inside(data_root, row.image), masks, config.data, config.limits.max_pixels)
    if (pair.image_sha256, pair.mask_sha256) != (row.image_sha256, row.mask_sha256):
        raise DataError(f"{row.image} or its mask has changed since the study was made")
    return pair
