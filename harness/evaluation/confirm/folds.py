"""The folds of a confirmation: train and val images dealt anew; test images stay sealed."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from harness.config.data import StudyDataConfig
from harness.data.datasets.sources import Dataset, ImageMaskPair
from harness.data.scan.scan import scan_dataset_strict
from harness.data.splits.splits import SplitRow
from harness.data.splits.stratified_split import assign_folds, collect_groups

ProgressCallback = Callable[[int, int], None]


def make_fold_splits(
    split: Sequence[SplitRow],
    folds: int,
    *,
    seed: int,
    data: StudyDataConfig,
    root: Path,
    max_pixels: float,
    scan_cache: Path,
    on_progress: ProgressCallback | None = None,
) -> list[list[SplitRow]]:
    """A split for each fold, in which that fold validates and the others train.

    Rows keep their numbers. Groups of the study's split stay together, so copies do; shares of the
    foreground, or of the classes, are balanced. Rows of test stay as they are, and their files are
    not opened.

    Args:
        split: the study's own.
        seed: of the order in which groups are dealt.
        root: folder that the rows' paths are relative to.
        scan_cache: folder where what was seen in the files is kept.
        on_progress: called with files done and files in all.

    Raises:
        DataError: fewer groups than folds; a class that not every fold can have.
    """
    train_val_rows = [row for row in split if row.role != "test"]
    pairs = tuple(
        ImageMaskPair(
            Path(row.image).stem, Path(row.image), tuple(Path(mask) for mask in row.masks)
        )
        for row in train_val_rows
    )
    image_facts = scan_dataset_strict(
        Dataset(f"{root.resolve().name} to be dealt", root, pairs, data, max_pixels),
        on_progress,
        scan_cache,
    )
    groups = collect_groups(
        [row.group for row in train_val_rows], [facts.shares for facts in image_facts], data
    )
    fold_of = assign_folds(groups, folds, 0, seed, data)
    return [
        [_assign_fold(row, fold_of.get(row.group), fold) for row in split] for fold in range(folds)
    ]


def _assign_fold(row: SplitRow, fold: int | None, val_fold: int) -> SplitRow:
    if row.role == "test":
        return replace(row, fold=None)
    return replace(row, fold=fold, role="val" if fold == val_fold else "train")
