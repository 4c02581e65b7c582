"""Facts and warnings about the data: split, image sizes, class shares and objects.

Files of the test split are never opened. Sizes come from file headers, class shares from the
scores.csv of a trial, object counts from the masks that the gallery reads.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.config.data import StudyDataConfig
from harness.core.errors import DataError
from harness.core.text import count, is_or_are
from harness.data.datasets.pairs import ROLES
from harness.data.datasets.sources import open_source
from harness.data.files.headers import read_header
from harness.data.files.overlay import foreground_classes
from harness.data.splits.splits import SplitRow
from harness.report.predictions.image_selection import Floats
from harness.report.tables.sheet_cells import SheetCell, SheetColumn
from harness.report.tables.sheets import ReportSheet
from harness.report.tables.study_tables import StudyTables, ranked_records
from harness.training.metrics.image_scores import ImageScores, read_scores

MIN_VALIDATION_IMAGES = 50  # validation images below which no interval of a mean is given
_TINY_SHARE = 0.001  # of the image: at 352 px, below 124 pixels in a mask
# Total size of the files that are read for their sizes. A header is checked against its whole file
# (a truncated JPEG has a valid header), so every file is read completely.
_MAX_BYTES = 500_000_000
_MAX_ASPECT_RATIO = 1.5  # ratio of the widest to the narrowest aspect


@dataclass(frozen=True)
class DataFacts:
    """Contents of the section on the data.

    Attributes:
        roles: one row per role with its number of images, groups and median size.
        facts: pairs of name and value.
        warnings: one sentence each.
    """

    roles: ReportSheet
    facts: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...]


def collect_data_facts(
    tables: StudyTables,
    split: Sequence[SplitRow],
    data_root: Path | None,
    shapes: Mapping[int, Floats],
) -> DataFacts:
    """Collect facts and warnings from the files that can be read.

    Args:
        split: rows of split.csv; empty if the file is missing.
        data_root: root of the paths in split.csv; None (no sizes) if it is not on this machine.
        shapes: `describe_shape` of the masks of validation images, by row, of two-class tasks.
    """
    sizes = {} if data_root is None else _read_sizes(split, data_root)
    scores = _read_best_scores(tables)
    shares = np.empty(0) if scores is None else _class_shares(scores, tables.config.data)
    facts = [*_size_facts(sizes), *_share_facts(shares), *_object_facts(shapes)]
    warnings = [
        *_split_warnings(split),
        *_size_warnings(tables, sizes),
        *_truth_warnings(tables, scores, shares),
    ]
    return DataFacts(_roles_sheet(split, sizes), tuple(facts), tuple(warnings))


def _read_sizes(split: Sequence[SplitRow], root: Path) -> dict[int, tuple[int, int]]:
    """Height and width by row of images of train and val, until _MAX_BYTES have been read."""
    sizes: dict[int, tuple[int, int]] = {}
    remaining_bytes = _MAX_BYTES
    source = open_source(root)
    for row in split:
        if row.role == "test":
            continue
        try:
            remaining_bytes -= source.size(row.image)
            if remaining_bytes < 0:
                break
            with source.open(row.image) as handle:
                header = read_header(handle.read())
        except (OSError, DataError, ValueError):
            continue
        # EXIF orientations 5 to 8 turn the picture by a quarter, so the sides are exchanged.
        size = (header.height, header.width)
        sizes[row.row] = (size[1], size[0]) if header.orientation >= 5 else size
    return sizes


def _read_best_scores(tables: StudyTables) -> ImageScores | None:
    """Scores of the best trial that has any; the masks that they describe are the same in all."""
    for record in ranked_records(tables):
        path = tables.paths.trial(record.number).scores_csv
        if path.is_file():
            return read_scores(path)
    return None


def _class_shares(scores: ImageScores, data: StudyDataConfig) -> Floats:
    """Share of the image, in [0, 1], of each foreground class in each mask that contains it."""
    # Ignored pixels are in no count, so `pixels` can be below H * W, and 0 for a mask that is
    # ignored completely.
    pixels = (scores.tp + scores.fp + scores.fn + scores.tn).astype(np.float64)
    truth = (scores.tp + scores.fn).astype(np.float64)
    is_sought = scores.has_truth & np.isin(scores.class_index, foreground_classes(data))
    return np.asarray((truth / np.maximum(pixels, 1))[is_sought])


def _roles_sheet(split: Sequence[SplitRow], sizes: Mapping[int, tuple[int, int]]) -> ReportSheet:
    columns = (
        SheetColumn("role", "use of the images: train, val or test", ""),
        SheetColumn("images", "pairs of image and mask"),
        SheetColumn("groups", "near-duplicates and declared groups count as one"),
        SheetColumn("size", "median height × width in pixels, upright after EXIF rotation"),
    )
    rows = []
    for role in ROLES:
        role_rows = [row for row in split if row.role == role]
        known_sizes = [sizes[row.row] for row in role_rows if row.row in sizes]
        middle = [round(float(x)) for x in np.median(known_sizes, axis=0)] if known_sizes else []
        groups = len({row.group for row in role_rows})
        unknown = "not opened" if role == "test" else "not read"
        size = " × ".join(map(str, middle)) or unknown
        cells = [
            SheetCell(role, role),
            *(SheetCell(str(n), str(n)) for n in (len(role_rows), groups)),
        ]
        rows.append((*cells, SheetCell(size, str(middle[0]) if middle else "")))
    return ReportSheet(columns, tuple(rows) if split else ())


def _size_facts(sizes: Mapping[int, tuple[int, int]]) -> list[tuple[str, str]]:
    if not sizes:
        return []
    heights, widths = zip(*sizes.values(), strict=True)
    is_uniform = len(set(sizes.values())) == 1
    range_text = f"{min(heights)} × {min(widths)}" + (
        "" if is_uniform else f" to {max(heights)} × {max(widths)}"
    )
    count_text = f"{count(len(set(sizes.values())), 'size')} in {count(len(sizes), 'image')}"
    return [("height × width", f"{range_text} pixels, {count_text}")]


def _share_facts(shares: Floats) -> list[tuple[str, str]]:
    if not shares.size:
        return []
    low, quarter, middle, three, high = (
        f"{100 * share:.3g} %" for share in np.quantile(shares, [0, 0.25, 0.5, 0.75, 1])
    )
    return [
        (
            "foreground share (validation)",
            f"median {middle}; interquartile range {quarter} to {three}; range {low} to {high}",
        )
    ]


def _object_facts(shapes: Mapping[int, Floats]) -> list[tuple[str, str]]:
    # Descriptors of two-class masks have five numbers, the second is log2 of the object count.
    numbers = [round(2 ** float(shape[1])) for shape in shapes.values() if len(shape) == 5]
    if not numbers:
        return []
    n_more = sum(n > 2 for n in numbers)
    texts = [
        f"{sum(n == 1 for n in numbers)} with one",
        f"{sum(n == 2 for n in numbers)} with two",
        *([f"{n_more} with more (maximum {max(numbers)})"] if n_more else []),
    ]
    return [(f"objects ({count(len(numbers), 'validation image')})", ", ".join(texts))]


def _split_warnings(split: Sequence[SplitRow]) -> list[str]:
    if not split:
        return ["split.csv is missing, so the split of the images is not known."]
    warnings = []
    n_val = sum(row.role == "val" for row in split)
    if n_val < MIN_VALIDATION_IMAGES:
        warnings.append(
            f"{count(n_val, 'validation image')}: fewer than {MIN_VALIDATION_IMAGES} are too few "
            "for an interval, and the order of close trials is chance."
        )
    if not any(row.role == "test" for row in split):
        warnings.append(
            "No test images: every value in this report comes from images that were also used to "
            "select epochs and trials."
        )
    n_grouped = len(split) - len({row.group for row in split})
    if n_grouped:
        warnings.append(_grouped_warning(n_grouped))
    return warnings


def _grouped_warning(n: int) -> str:
    if n == 1:
        return (
            "1 image duplicates another image or belongs to its group; both are in the same part "
            "of the split."
        )
    return (
        f"{count(n, 'image')} duplicate another image or belong to its group; each group is in one "
        "part of the split."
    )


def _size_warnings(tables: StudyTables, sizes: Mapping[int, tuple[int, int]]) -> list[str]:
    warnings = []
    size = tables.config.data.eval_size
    n_small = sum(max(shape) < size for shape in sizes.values())
    if tables.config.data.metrics_at == "native":
        return []
    if n_small:
        warnings.append(
            f"{count(n_small, 'image')} {is_or_are(n_small)} smaller than the {size} pixels at "
            "which metrics are computed."
        )
    aspects = [width / height for height, width in sizes.values()]
    if aspects and max(aspects) > _MAX_ASPECT_RATIO * min(aspects):
        warnings.append(
            f"Widths are {min(aspects):.2g} to {max(aspects):.2g} times the heights. Metrics are "
            "computed on squares; data.fit sets if images are stretched or padded."
        )
    return warnings


def _truth_warnings(tables: StudyTables, scores: ImageScores | None, shares: Floats) -> list[str]:
    if scores is None:
        return ["No complete trial has scores.csv, so foreground shares are not known."]
    warnings = []
    sought = {row for row, has in zip(scores.row.tolist(), scores.has_truth, strict=True) if has}
    n_empty = len(set(scores.row.tolist()) - sought)
    if n_empty:
        warnings.append(
            f"{count(n_empty, 'validation image')} without foreground: excluded from Dice and IoU; "
            "every foreground pixel predicted there is a false positive."
        )
    n_tiny = int((shares < _TINY_SHARE).sum())
    if n_tiny:
        warnings.append(
            f"{count(n_tiny, 'mask')} with foreground below {100 * _TINY_SHARE:g} % of the image: "
            "a few pixels decide the Dice."
        )
    present_classes = set(scores.class_index[scores.has_truth].tolist())
    absent_classes = set(tables.config.data.scored_classes) - present_classes
    if absent_classes:
        names = ", ".join(tables.config.data.classes[k] for k in sorted(absent_classes))
        warnings.append(f"No validation image contains {names}, so no metric is measured for it.")
    return warnings
