"""Origin of the roles of a study's images, in words for reports and model cards."""

import csv
from collections.abc import Sequence
from pathlib import Path

from harness.config.study import StudyConfig
from harness.core.text import count
from harness.data.datasets.pairs import ROLE_NAMES
from harness.data.splits.split_file import SplitRow


def split_origin_text(
    config: StudyConfig, split: Sequence[SplitRow], data_root: Path | None
) -> str:
    """Origin of the roles train, val and test: folds, lists, folders, a CSV column, or the seed.

    Args:
        split: rows of split.csv; empty if the file is missing.
        data_root: folder of the data, in which a CSV file of images is looked up; None if it is not
            on this machine.
    """
    seed_text = f"seed {config.split.seed}"
    declared = _declared_roles_text(config, split, data_root)
    if config.split.folds is not None:
        test = f"test images {declared}; " if declared else ""
        folds = (
            f"{config.split.folds} folds of the other images, fold {config.split.fold} for "
            "validation"
        )
        return f"{test}{folds}; {seed_text}"
    return declared or seed_text


def _declared_roles_text(
    config: StudyConfig, split: Sequence[SplitRow], data_root: Path | None
) -> str:
    """Origin of roles that the data declares; "" if the seed divided the images."""
    lists, root = config.split.lists, config.data.root
    if lists is not None:
        is_official = lists == "official"
        return "by the official lists of the dataset" if is_official else f"by the lists in {lists}"
    # split.csv does not record the origin of a role, so it is recognised: if every image is in a
    # folder with the name of a role, the data had declared it.
    folders = {row.row: ROLE_NAMES.get(row.image.split("/")[0]) for row in split}
    if split and all(folders.values()):
        moved = sum(row.role != folders[row.row] for row in split)
        moved_text = (
            f"; {count(moved, 'training image')} moved to validation, seed {config.split.seed}"
        )
        origin_text = "by the folders of the dataset"
        return origin_text + (moved_text if moved and config.split.folds is None else "")
    if root.lower().endswith(".csv") and _has_role_column(Path(root).name, data_root):
        return "by the column role of the CSV file"
    return ""


def _has_role_column(name: str, data_root: Path | None) -> bool:
    """True if the CSV file of images can be read and has a column of roles."""
    if data_root is None:
        return False
    try:
        # utf-8-sig: Excel writes a byte order mark, which would become part of the first name.
        with (data_root / name).open(encoding="utf-8-sig", newline="") as handle:
            header = next(csv.reader(handle), [])
    except (OSError, ValueError, csv.Error):
        return False
    return "role" in [cell.strip().lower() for cell in header]
