"""The data as the report can know it: split, sizes, shares, objects, and what to beware of.

Files of the test role are never opened. Sizes come from headers; shares from the sums that trials
kept; objects from the truths that the gallery reads.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.data.headers import read_header
from harness.data.pairs import ROLES
from harness.data.splits import SplitRow, inside
from harness.data_config import StudyDataConfig
from harness.errors import DataError
from harness.report.choosing import Floats
from harness.report.kept import sought_classes
from harness.report.sheets import Cell, Column, Sheet
from harness.report.tables import StudyTables, ranked_records
from harness.report.wording import count
from harness.training.metrics import ImageScores, read_scores

FEW = 50  # validation images below which no interval of a mean is given
_TINY = 0.001  # share of the image
_MOST_BYTES = 500_000_000  # of files; a header is checked against its whole file
_STRETCH = 1.5  # ratio of the widest to the narrowest aspect


@dataclass(frozen=True)
class DataFacts:
    """What the section shows.

    Attributes:
        roles: how the images are divided, with their sizes.
        facts: pairs of name and value.
        warnings: a sentence each.
    """

    roles: Sheet
    facts: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...]


def data_facts(
    tables: StudyTables,
    split: Sequence[SplitRow],
    data_root: Path | None,
    shapes: Mapping[int, Floats],
) -> DataFacts:
    """Everything there is to say, from what can be read.

    Args:
        split: may be empty, where split.csv is missing.
        data_root: where its paths start from; None: not found, so sizes are left out.
        shapes: `describe` of the truths of validation images, of two-class tasks.
    """
    sizes = {} if data_root is None else _sizes(split, data_root)
    scores = _scores(tables)
    shares = np.empty(0) if scores is None else _shares(scores, tables.config.data)
    facts = [*_size_facts(sizes), *_share_facts(shares), *_object_facts(shapes)]
    warnings = [
        *_split_warnings(split),
        *_size_warnings(tables, sizes),
        *_truth_warnings(tables, scores, shares),
    ]
    return DataFacts(_roles(split, sizes), tuple(facts), tuple(warnings))


def _sizes(split: Sequence[SplitRow], root: Path) -> dict[int, tuple[int, int]]:
    """Height and width by row, of images of train and val, until _MOST_BYTES are read."""
    found: dict[int, tuple[int, int]] = {}
    left = _MOST_BYTES
    for row in split:
        if row.role == "test":
            continue
        try:
            path = inside(root, row.image)
            left -= path.stat().st_size
            if left < 0:
                break
            header = read_header(path.read_bytes())
        except (OSError, DataError, ValueError):
            continue
        size = (header.height, header.width)
        found[row.row] = (size[1], size[0]) if header.orientation >= 5 else size
    return found


def _scores(tables: StudyTables) -> ImageScores | None:
    """Those of the best trial that has any: the truth is the same in all."""
    for record in ranked_records(tables):
        path = tables.paths.trial(record.number).scores_csv
        if path.is_file():
            return read_scores(path)
    return None


def _shares(scores: ImageScores, data: StudyDataConfig) -> Floats:
    """The share of the image of each class to be found, where the truth has it."""
    pixels = (scores.tp + scores.fp + scores.fn + scores.tn).astype(np.float64)
    truth = (scores.tp + scores.fn).astype(np.float64)
    wanted = scores.has_truth & np.isin(scores.class_index, sought_classes(data))
    return np.asarray((truth / np.maximum(pixels, 1))[wanted])


def _roles(split: Sequence[SplitRow], sizes: Mapping[int, tuple[int, int]]) -> Sheet:
    columns = (
        Column("role", "what the images are for", ""),
        Column("images", "pairs of image and mask"),
        Column("groups", "images that show the same, or were declared to belong together, are one"),
        Column("size", "median height × width in pixels, as stored and turned upright"),
    )
    rows = []
    for role in ROLES:
        of_role = [row for row in split if row.role == role]
        known = [sizes[row.row] for row in of_role if row.row in sizes]
        middle = [round(float(x)) for x in np.median(known, axis=0)] if known else []
        groups = len({row.group for row in of_role})
        unknown = "sealed" if role == "test" else "not read"
        size = " × ".join(map(str, middle)) or unknown
        cells = [Cell(role, role), *(Cell(str(n), str(n)) for n in (len(of_role), groups))]
        rows.append((*cells, Cell(size, str(middle[0]) if middle else "")))
    return Sheet(columns, tuple(rows) if split else ())


def _size_facts(sizes: Mapping[int, tuple[int, int]]) -> list[tuple[str, str]]:
    if not sizes:
        return []
    heights, widths = zip(*sizes.values(), strict=True)
    one = len(set(sizes.values())) == 1
    ends = f"{min(heights)} × {min(widths)}" + (
        "" if one else f" to {max(heights)} × {max(widths)}"
    )
    many = f"{count(len(set(sizes.values())), 'size')} in {count(len(sizes), 'image')}"
    return [("height × width", f"{ends} pixels, {many}")]


def _share_facts(shares: Floats) -> list[tuple[str, str]]:
    if not shares.size:
        return []
    low, quarter, middle, three, high = (
        f"{100 * share:.3g} %" for share in np.quantile(shares, [0, 0.25, 0.5, 0.75, 1])
    )
    return [
        (
            "share to be found (validation)",
            f"median {middle}; half of them {quarter} to {three}, all {low} to {high}",
        )
    ]


def _object_facts(shapes: Mapping[int, Floats]) -> list[tuple[str, str]]:
    numbers = [round(2 ** float(shape[1])) for shape in shapes.values() if len(shape) == 5]
    if not numbers:
        return []
    more = sum(n > 2 for n in numbers)
    texts = [
        f"{sum(n == 1 for n in numbers)} with one",
        f"{sum(n == 2 for n in numbers)} with two",
        *([f"{more} with more (at most {max(numbers)})"] if more else []),
    ]
    return [(f"objects ({count(len(numbers), 'validation image')})", ", ".join(texts))]


def _split_warnings(split: Sequence[SplitRow]) -> list[str]:
    if not split:
        return ["split.csv is missing: how the images were divided is not known."]
    found = []
    n_val = sum(row.role == "val" for row in split)
    if n_val < FEW:
        found.append(
            f"{count(n_val, 'validation image')}: fewer than {FEW} are too few for an interval, "
            "and the order of close trials is chance."
        )
    if not any(row.role == "test" for row in split):
        found.append("No test images: every number here comes from images that chose something.")
    together = len(split) - len({row.group for row in split})
    if together:
        found.append(
            f"{count(together, 'image')} shows the same as another or belongs to it, and is on its "
            "side of the split."
            if together == 1
            else f"{together} images show the same as another or belong to it; each is on the "
            "side of its group."
        )
    return found


def _size_warnings(tables: StudyTables, sizes: Mapping[int, tuple[int, int]]) -> list[str]:
    found = []
    size = tables.config.data.eval_size
    small = sum(max(shape) < size for shape in sizes.values())
    if small:
        found.append(
            f"{count(small, 'image')} smaller than the {size} pixels at which metrics are computed."
        )
    aspects = [width / height for height, width in sizes.values()]
    if aspects and max(aspects) > _STRETCH * min(aspects):
        found.append(
            f"Widths are {min(aspects):.2g} to {max(aspects):.2g} times the heights: metrics are "
            "computed on squares, and data.fit decides what the network sees."
        )
    return found


def _truth_warnings(tables: StudyTables, scores: ImageScores | None, shares: Floats) -> list[str]:
    if scores is None:
        return ["No complete trial has kept its scores, so shares to be found are not known."]
    found = []
    sought = {row for row, has in zip(scores.row.tolist(), scores.has_truth, strict=True) if has}
    empty = len(set(scores.row.tolist()) - sought)
    if empty:
        found.append(
            f"{count(empty, 'validation image')} with nothing to find: left out of Dice and IoU; "
            "whatever is found there is a false alarm."
        )
    tiny = int((shares < _TINY).sum())
    if tiny:
        found.append(
            f"{count(tiny, 'truth')} below {100 * _TINY:g} % of the image: a few pixels decide "
            "their Dice."
        )
    absent = set(tables.config.data.scored_classes) - set(
        scores.class_index[scores.has_truth].tolist()
    )
    if absent:
        names = ", ".join(tables.config.data.classes[k] for k in sorted(absent))
        found.append(f"No validation image shows {names}, so nothing is measured of it.")
    return found
