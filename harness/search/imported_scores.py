"""Scores and predictions of single images, taken over with an imported trial.

Both studies validate on the same pictures at the same eval_size, or nothing would be imported; but
a row of split.csv may have another number and another path there.
"""

import dataclasses
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from harness import files
from harness.data.splits import SplitRow
from harness.errors import DataError
from harness.paths import TrialPaths
from harness.training.metrics import ImageScores, read_scores, write_scores

Rows = Mapping[int, SplitRow]


def same_pictures(earlier: Sequence[SplitRow], ours: Sequence[SplitRow]) -> Rows:
    """Our row of each row of an earlier split, by the content of image and mask; of val only."""
    groups: dict[tuple[str, str], list[SplitRow]] = defaultdict(list)
    for row in ours:
        if row.role == "val":
            groups[row.image_sha256, row.mask_sha256].append(row)
    found: dict[int, SplitRow] = {}
    for row in earlier:
        group = groups[row.image_sha256, row.mask_sha256]
        if row.role == "val" and group:
            found[row.row] = group.pop(0)  # of equal pictures each is taken once
    return found


def take_scores(source: TrialPaths, target: TrialPaths, rows: Rows) -> None:
    """Write `best/scores.csv` and the kept probabilities as those of our split, where there are.

    Scores that are damaged, or that tell of an image which is not ours, are left behind: the report
    says that the trial has none.
    """
    try:
        scores = _renumbered(read_scores(source.scores_csv), rows)
    except (DataError, FileNotFoundError):
        return
    if scores is None:
        return
    write_scores(target.scores_csv, scores)
    for path in sorted(source.probabilities.glob("*.png")):
        number, _, plane = path.name.partition("-")
        if number.isdecimal() and int(number) in rows:
            ours = target.probabilities / f"{rows[int(number)].row}-{plane}"
            files.write_bytes(ours, path.read_bytes())


def _renumbered(scores: ImageScores, rows: Rows) -> ImageScores | None:
    """With the numbers and names of our rows, in their order; None: some image is not ours."""
    numbers = scores.row.tolist()
    if not all(number in rows for number in numbers):
        return None
    ours = [rows[number] for number in numbers]
    order = sorted(range(len(ours)), key=lambda place: ours[place].row)
    columns = {
        field.name: getattr(scores, field.name)[order]
        for field in dataclasses.fields(scores)
        if field.name not in ("row", "image", "others")
    }
    return ImageScores(
        row=np.array([ours[place].row for place in order], np.int64),
        image=tuple(ours[place].image for place in order),
        others={name: column[order] for name, column in scores.others.items()},
        **columns,
    )
