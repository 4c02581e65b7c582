"""Class shares and confusion matrix of the page, for tasks with several classes."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from harness.core.text import count
from harness.data.files.overlay import class_palette
from harness.report.predictions.class_pixels import ClassPixelCounts, Counts
from harness.report.predictions.gallery import PredictionGallery
from harness.report.predictions.panels import hex_colour
from harness.report.tables.study_tables import StudyTables

MAX_CLASSES: Final = 20  # rows of a matrix that can still be read


@dataclass(frozen=True)
class ClassShareRow:
    """Share of the pixels that one class covers in masks and predictions, in percent."""

    name: str
    colour: str
    truth: float
    predicted: float


@dataclass(frozen=True)
class ClassView:
    """Contents of the page on classes.

    Attributes:
        sentence: the pair of classes that is confused most, or the shares without a matrix.
        shares: one row for each class.
        names: classes of the matrix; () without one.
        matrix: percent of the pixels of a true class (row) by predicted class (column).
        note: weights and images, and classes that the matrix leaves out.
    """

    sentence: str
    shares: tuple[ClassShareRow, ...]
    names: tuple[str, ...]
    matrix: tuple[tuple[float, ...], ...]
    note: str


def build_class_view(tables: StudyTables, gallery: PredictionGallery) -> ClassView | None:
    """Describe the classes of the validation images; None for two classes or without pictures."""
    pixels, names = gallery.class_pixels, tables.config.data.classes
    if pixels is None or not pixels.n_pixels:
        return None
    colours = [hex_colour((int(r), int(g), int(b))) for r, g, b in class_palette(names)]
    shares = 100 * np.stack([pixels.truth, pixels.predicted], axis=1) / pixels.n_pixels
    rows = tuple(
        ClassShareRow(name, colour, float(true), float(predicted))
        for name, colour, (true, predicted) in zip(names, colours, shares, strict=True)
    )
    note = (
        f"Pixels of {count(gallery.n_compared, 'validation image')} at the size of the metrics, "
        f"predicted by {gallery.weights}."
    )
    if pixels.confusion is None:
        return ClassView(_share_sentence(rows), rows, (), (), note)
    # Classes without a true pixel have no row of percentages.
    order = sorted(np.flatnonzero(pixels.truth).tolist(), key=lambda k: -int(pixels.truth[k]))
    drawn_classes = sorted(order[:MAX_CLASSES])
    if len(order) > MAX_CLASSES:
        note += f" The matrix has the {MAX_CLASSES} most frequent of {len(order)} classes."
    percent = 100 * pixels.confusion / np.maximum(pixels.truth, 1)[:, None]
    return ClassView(
        _confusion_sentence(names, pixels, pixels.confusion),
        rows,
        tuple(names[k] for k in drawn_classes),
        tuple(tuple(float(percent[i, j]) for j in drawn_classes) for i in drawn_classes),
        note,
    )


def _confusion_sentence(names: tuple[str, ...], pixels: ClassPixelCounts, confusion: Counts) -> str:
    """The largest share of a class that is predicted as another one."""
    shares = confusion / np.maximum(pixels.truth, 1)[:, None]
    np.fill_diagonal(shares, 0.0)
    true, predicted = np.unravel_index(int(shares.argmax()), shares.shape)
    if shares[true, predicted] == 0:
        return "No class is confused with another one."
    return (
        f"Most confused: {shares[true, predicted]:.1%} of the pixels of {names[true]} are "
        f"predicted as {names[predicted]}."
    )


def _share_sentence(rows: tuple[ClassShareRow, ...]) -> str:
    row = max(rows, key=lambda row: abs(row.predicted - row.truth))
    return (
        f"Largest difference: {row.name} covers {row.truth:.1f} % of the pixels and is predicted "
        f"on {row.predicted:.1f} %."
    )
