"""The folds of a confirmation: train and val images dealt anew; test images stay sealed."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from harness.data.dividing import deal_folds, gather
from harness.data.look import look_at_all
from harness.data.sources import Dataset, Pair
from harness.data.splits import SplitRow
from harness.data_config import StudyDataConfig

Bar = Callable[[int, int], None]


def deal(
    split: Sequence[SplitRow],
    folds: int,
    *,
    seed: int,
    data: StudyDataConfig,
    root: Path,
    max_pixels: float,
    looks: Path,
    bar: Bar | None = None,
) -> list[list[SplitRow]]:
    """A split for each fold, in which that fold validates and the others train.

    Rows keep their numbers. Groups of the study's split stay together, so copies do; shares of the
    foreground, or of the classes, are balanced. Rows of test stay as they are, and their files are
    not opened.

    Args:
        split: the study's own.
        seed: of the order in which groups are dealt.
        root: folder that the rows' paths are relative to.
        looks: folder where what was seen in the files is kept.
        bar: called with files done and files in all.

    Raises:
        DataError: fewer groups than folds; a class that not every fold can have.
    """
    used = [row for row in split if row.role != "test"]
    pairs = tuple(
        Pair(Path(row.image).stem, Path(row.image), tuple(Path(mask) for mask in row.masks))
        for row in used
    )
    seen = look_at_all(
        Dataset(f"{root.resolve().name} to be dealt", root, pairs, data, max_pixels), bar, looks
    )
    groups = gather([row.group for row in used], [look.shares for look in seen], data)
    fold_of = deal_folds(groups, folds, 0, seed, data)
    return [[_in_fold(row, fold_of.get(row.group), fold) for row in split] for fold in range(folds)]


def _in_fold(row: SplitRow, fold: int | None, validating: int) -> SplitRow:
    if row.role == "test":
        return replace(row, fold=None)
    return replace(row, fold=fold, role="val" if fold == validating else "train")
