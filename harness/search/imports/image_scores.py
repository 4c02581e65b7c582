"""Scores and predictions of single images, taken over with an imported trial.

Both studies validate on the same pictures at the same eval_size, or nothing would be imported; but
a row of split.csv may have another number and another path there.
"""

import dataclasses
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from harness.core import files
from harness.core.errors import DataError
from harness.core.paths import TrialPaths
from harness.data.splits.splits import SplitRow
from harness.training.metrics.image_scores import ImageScores, read_scores, write_scores

RowMapping = Mapping[int, SplitRow]


def match_rows(earlier: Sequence[SplitRow], new_split: Sequence[SplitRow]) -> RowMapping:
    """Our row of each row of an earlier split, by the content of image and mask; of val only."""
    groups: dict[tuple[str, str], list[SplitRow]] = defaultdict(list)
    for row in new_split:
        if row.role == "val":
            groups[row.image_sha256, row.mask_sha256].append(row)
    matches: dict[int, SplitRow] = {}
    for row in earlier:
        group = groups[row.image_sha256, row.mask_sha256]
        if row.role == "val" and group:
            matches[row.row] = group.pop(0)  # of equal pictures each is taken once
    return matches


def import_scores(source: TrialPaths, target: TrialPaths, rows: RowMapping) -> None:
    """Write `best/scores.csv` and the kept probabilities as those of our split, where there are.

    Scores that are damaged, or that tell of an image which is not ours, are left behind: the report
    says that the trial has none.
    """
    try:
        scores = _renumber_scores(read_scores(source.scores_csv), rows)
    except (DataError, FileNotFoundError):
        return
    if scores is None:
        return
    write_scores(target.scores_csv, scores)
    for path in sorted(source.probabilities.glob("*.png")):
        number, _, plane = path.name.partition("-")
        if number.isdecimal() and int(number) in rows:
            target_path = target.probabilities / f"{rows[int(number)].row}-{plane}"
            files.write_bytes(target_path, path.read_bytes())


def _renumber_scores(scores: ImageScores, rows: RowMapping) -> ImageScores | None:
    """With the numbers and names of our rows, in their order; None: some image is not ours."""
    numbers = scores.row.tolist()
    if not all(number in rows for number in numbers):
        return None
    new_rows = [rows[number] for number in numbers]
    order = sorted(range(len(new_rows)), key=lambda index: new_rows[index].row)
    columns = {
        field.name: getattr(scores, field.name)[order]
        for field in dataclasses.fields(scores)
        if field.name not in ("row", "image", "extra_columns")
    }
    return ImageScores(
        row=np.array([new_rows[index].row for index in order], np.int64),
        image=tuple(new_rows[index].image for index in order),
        extra_columns={name: column[order] for name, column in scores.extra_columns.items()},
        **columns,
    )
