"""Divide a dataset once into the rows of a `split.csv`, which never change (see `split_file`)."""

import math
from collections.abc import Sequence

from harness.config.data import SplitConfig
from harness.core.errors import DataError
from harness.data.datasets.pairs import ROLES, Dataset, Role
from harness.data.scan.near_duplicates import DuplicatePair
from harness.data.scan.scan import PairStats, duplicates_among
from harness.data.splits.grouping import check_declared_roles, declared_groups, merge_groups
from harness.data.splits.published_splits import read_published_roles
from harness.data.splits.split_file import (
    COLUMNS,
    SplitRow,
    read_split,
    verify_split,
    write_split,
)
from harness.data.splits.stratified_split import assign_folds, assign_roles, collect_groups

__all__ = [
    "COLUMNS",
    "ROLES",
    "SplitRow",
    "make_split",
    "read_split",
    "subset_size",
    "verify_split",
    "write_split",
]


def subset_size(n: int, share: float) -> int:
    """Number of training images in a share of n: rounded up, at least 1."""
    return max(
        1, math.ceil(share * n - 1e-9)
    )  # 0.3 * 10 is above 3 in floating point: without the margin it gives 4


_VAL_SHARE = 0.1  # of the training images, where the data declares roles but no val


def make_split(
    dataset: Dataset,
    pair_stats: Sequence[PairStats],
    config: SplitConfig,
    copies: Sequence[DuplicatePair] | None = None,
) -> list[SplitRow]:
    """Divide a dataset, or use the roles that its files or lists declare.

    Copies and declared groups stay in one role. Without val, a tenth of train validates; with
    folds, all but test is dealt to them, `config.fold` validates. The order follows from the seed
    and the first image of each group, so it does not depend on the machine.

    Args:
        pair_stats: result of `scan_dataset_strict`, in the order of the dataset's pairs.
        copies: result of `duplicates_among`; None: computed here, which takes half a minute for
            20,000 images.

    Raises:
        DataError: masks that hold no class; too few different images to divide; a class that
            train or val would lack; copies or a group on two declared sides; lists or groups that
            do not fit the data.
    """
    copies = duplicates_among(pair_stats) if copies is None else copies
    declared = declared_groups(dataset, config.group)
    leaders = merge_groups(copies, declared)
    groups = [dataset.pairs[leader].image.as_posix() for leader in leaders]
    declared_roles = _read_declared_roles(dataset, config, copies, declared)
    _check_foreground(pair_stats, dataset)
    roles, folds = _assign_roles_and_folds(dataset, pair_stats, groups, declared_roles, config)
    return [
        SplitRow(
            row=index,
            image=pair.image.as_posix(),
            mask="|".join(mask.as_posix() for mask in pair.masks),
            role=roles[index],
            group=groups[index],
            image_sha256=stats.image_sha256,
            mask_sha256=stats.mask_sha256,
            fold=folds[index],
        )
        for index, (pair, stats) in enumerate(zip(dataset.pairs, pair_stats, strict=True))
    ]


def _check_foreground(pair_stats: Sequence[PairStats], dataset: Dataset) -> None:
    """Check that some mask has foreground: otherwise nothing can be learnt or measured."""
    scored = dataset.data.scored_classes
    if pair_stats and not any(stats.shares[index] > 0 for stats in pair_stats for index in scored):
        names = " or ".join(repr(dataset.data.classes[index]) for index in scored[:6])
        raise DataError(
            f"{dataset.name}: none of its {len(pair_stats)} masks holds {names}; check that "
            "data.values and data.classes in study.yaml mean what the masks hold: "
            "harness data inspect"
        )


def _read_declared_roles(
    dataset: Dataset,
    config: SplitConfig,
    copies: Sequence[DuplicatePair],
    declared: Sequence[str | None],
) -> list[Role] | None:
    """Checked roles from lists or from the data itself; None if nothing declares roles."""
    own = [pair.role for pair in dataset.pairs if pair.role is not None]
    if config.lists is not None:
        if own:
            raise DataError("split.lists: the data declares roles of its own; use one or the other")
        own = read_published_roles(dataset, config.lists)
    if not own:
        return None
    if "train" not in own:
        raise DataError(f"{dataset.name}: declares roles, but no image is of train")
    check_declared_roles(dataset.pairs, own, copies, declared)
    return own


def _assign_roles_and_folds(
    dataset: Dataset,
    pair_stats: Sequence[PairStats],
    groups: Sequence[str],
    declared_roles: Sequence[Role] | None,
    config: SplitConfig,
) -> tuple[list[Role], list[int | None]]:
    """Assign a role and a fold to each image."""
    no_folds: list[int | None] = [None] * len(groups)
    if declared_roles is not None and "val" in declared_roles and config.folds is None:
        return list(declared_roles), no_folds
    free = [
        index
        for index in range(len(groups))
        if declared_roles is None or declared_roles[index] != "test"
    ]
    pool = collect_groups(
        [groups[i] for i in free], [pair_stats[i].shares for i in free], dataset.data
    )
    # round() rounds halves to even, on every machine alike.
    n_test = round(len(free) * config.fractions[2]) if declared_roles is None else 0
    if config.folds is not None:
        fold_of_group = assign_folds(pool, config.folds, n_test, config.seed, dataset.data)
        folds = [fold_of_group.get(group) for group in groups]
        return [_role_of_fold(fold, config.fold) for fold in folds], folds
    share = config.fractions[1] if declared_roles is None else _VAL_SHARE
    n_val = min(max(1, round(len(free) * share)), max(1, len(free) - 1))
    n_test = min(n_test, max(0, len(free) - n_val - 1))
    # Test gives way first: every trial needs train and val, and no trial needs test.
    roles = assign_roles(pool, n_val, n_test, config.seed, dataset.data)
    return [roles.get(group, "test") for group in groups], no_folds


def _role_of_fold(fold: int | None, validating: int) -> Role:
    if fold is None:
        return "test"
    return "val" if fold == validating else "train"
