"""Dividing a dataset once, into a `split.csv` that never changes (see `split_file`)."""

import math
from collections.abc import Sequence

from harness.data.copies import Copy
from harness.data.dividing import deal_folds, deal_roles, gather
from harness.data.grouping import check_sides, declared_groups, join_groups
from harness.data.look import Look, copies_among
from harness.data.pairs import ROLES, Dataset, Role
from harness.data.role_lists import read_role_lists
from harness.data.split_file import (
    COLUMNS,
    SplitRow,
    inside,
    read_split,
    verify_split,
    write_split,
)
from harness.data_config import SplitConfig
from harness.errors import DataError

__all__ = [
    "COLUMNS",
    "ROLES",
    "SplitRow",
    "inside",
    "make_split",
    "read_split",
    "subset_size",
    "verify_split",
    "write_split",
]


def subset_size(n: int, share: float) -> int:
    """How many of n training images a share of them is: rounded up, at least 1."""
    return max(1, math.ceil(share * n - 1e-9))  # 0.3 * 10 must not become 4 by rounding


_VAL_SHARE = 0.1  # of the training images, where the data declares roles but no val


def make_split(
    dataset: Dataset,
    looks: Sequence[Look],
    config: SplitConfig,
    copies: Sequence[Copy] | None = None,
) -> list[SplitRow]:
    """Divide a dataset, or take the roles that its files or lists declare.

    Copies and declared groups stay on one side. Without val, a tenth of train validates; with
    folds, all but test is dealt to them, `config.fold` validates. The order follows from the seed
    and the first image of each group, so it does not depend on the machine.

    Args:
        looks: what `look_at_all` found, in the order of the dataset's pairs.
        copies: what `copies_among` found among the looks; None: they are looked for here, which
            takes half a minute for 20,000 images.

    Raises:
        DataError: masks that hold no class; too few different images to divide; a class that
            train or val would lack; copies or a group on two declared sides; lists or groups that
            do not fit the data.
    """
    copies = copies_among(looks) if copies is None else copies
    declared = declared_groups(dataset, config.group)
    leaders = join_groups(copies, declared)
    groups = [dataset.pairs[leader].image.as_posix() for leader in leaders]
    given = _declared_roles(dataset, config, copies, declared)
    _check_found(looks, dataset)
    roles, folds = _divided(dataset, looks, groups, given, config)
    return [
        SplitRow(
            row=index,
            image=pair.image.as_posix(),
            mask="|".join(mask.as_posix() for mask in pair.masks),
            role=roles[index],
            group=groups[index],
            image_sha256=one.image_sha256,
            mask_sha256=one.mask_sha256,
            fold=folds[index],
        )
        for index, (pair, one) in enumerate(zip(dataset.pairs, looks, strict=True))
    ]


def _check_found(looks: Sequence[Look], dataset: Dataset) -> None:
    """Check that anything is there to be found: without it nothing can be learnt or measured."""
    scored = dataset.data.scored_classes
    if looks and not any(look.shares[index] > 0 for look in looks for index in scored):
        names = " or ".join(repr(dataset.data.classes[index]) for index in scored[:6])
        raise DataError(
            f"{dataset.name}: none of its {len(looks)} masks holds {names}; check that data.values "
            "and data.classes in study.yaml mean what the masks hold: harness data inspect"
        )


def _declared_roles(
    dataset: Dataset, config: SplitConfig, copies: Sequence[Copy], declared: Sequence[str | None]
) -> list[Role] | None:
    """The roles of lists or of the data itself, checked; None where there are none."""
    own = [pair.role for pair in dataset.pairs if pair.role is not None]
    if config.lists is not None:
        if own:
            raise DataError("split.lists: the data declares roles of its own; use one or the other")
        own = read_role_lists(dataset, config.lists)
    if not own:
        return None
    if "train" not in own:
        raise DataError(f"{dataset.name}: declares roles, but no image is of train")
    check_sides(dataset.pairs, own, copies, declared)
    return own


def _divided(
    dataset: Dataset,
    looks: Sequence[Look],
    groups: Sequence[str],
    given: Sequence[Role] | None,
    config: SplitConfig,
) -> tuple[list[Role], list[int | None]]:
    """The role and the fold of each image."""
    none: list[int | None] = [None] * len(groups)
    if given is not None and "val" in given and config.folds is None:
        return list(given), none
    free = [index for index in range(len(groups)) if given is None or given[index] != "test"]
    pool = gather([groups[i] for i in free], [looks[i].shares for i in free], dataset.data)
    n_test = round(len(free) * config.fractions[2]) if given is None else 0
    if config.folds is not None:
        of_group = deal_folds(pool, config.folds, n_test, config.seed, dataset.data)
        folds = [of_group.get(group) for group in groups]
        return [_role(fold, config.fold) for fold in folds], folds
    share = config.fractions[1] if given is None else _VAL_SHARE
    n_val = min(max(1, round(len(free) * share)), max(1, len(free) - 1))
    n_test = min(n_test, max(0, len(free) - n_val - 1))
    roles = deal_roles(pool, n_val, n_test, config.seed, dataset.data)
    return [roles.get(group, "test") for group in groups], none


def _role(fold: int | None, validating: int) -> Role:
    if fold is None:
        return "test"
    return "val" if fold == validating else "train"
