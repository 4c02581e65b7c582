"""Who trains, who validates, who waits: `split.csv`, made once and never changed."""

import csv
import hashlib
import io
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import cast

from harness import files
from harness.data.copies import group_copies
from harness.data.look import Look
from harness.data.sources import Dataset, Role, list_problems
from harness.data_config import SplitConfig
from harness.errors import DataError, nearest

ROLES: tuple[Role, ...] = ("train", "val", "test")
COLUMNS = ("image", "mask", "role", "group", "image_sha256", "mask_sha256")
_MOST_BYTES = 100_000_000
_THREADS = 4
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class SplitRow:
    """One line of `split.csv`. `row` is its number from 0; paths are posix, relative to the root.

    `mask` holds several paths, with | between them, in a multilabel task.
    Rows of one `group` share a role: the group is the first image of those that show the same.
    """

    row: int
    image: str
    mask: str
    role: Role
    group: str
    image_sha256: str
    mask_sha256: str

    @property
    def masks(self) -> tuple[str, ...]:
        """The paths of the masks, in order of class."""
        return tuple(self.mask.split("|"))


def make_split(dataset: Dataset, looks: Sequence[Look], config: SplitConfig) -> list[SplitRow]:
    """Divide a dataset.

    The order follows from the seed and the first image of each group, so it does not depend on
    the machine, and a picture that is stored twice lies on one side (see `copies`).

    Args:
        looks: what `look_at_all` found, in the order of the dataset's pairs.

    Raises:
        DataError: too few different images to divide.
    """
    leaders = group_copies([one.pixels for one in looks], [one.thumbnail for one in looks])
    groups = [dataset.pairs[leader].image.as_posix() for leader in leaders]
    role_of = _assign(Counter(groups), config)
    return [
        SplitRow(
            row=index,
            image=pair.image.as_posix(),
            mask="|".join(mask.as_posix() for mask in pair.masks),
            role=role_of[group],
            group=group,
            image_sha256=one.image_sha256,
            mask_sha256=one.mask_sha256,
        )
        for index, (pair, one, group) in enumerate(zip(dataset.pairs, looks, groups, strict=True))
    ]


def write_split(path: Path, rows: Sequence[SplitRow]) -> None:
    """Write `split.csv`, whole or not at all."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([getattr(row, column) for column in COLUMNS] for row in rows)
    files.write_text(path, text.getvalue())


def read_split(path: Path) -> list[SplitRow]:
    """Read and check a `split.csv`.

    Raises:
        DataError: every problem as `file:line: column: what is wrong`.
    """
    lines = _read_csv(path)
    if not lines or tuple(lines[0]) != COLUMNS:
        raise DataError(f"{path}:1: the columns must be {','.join(COLUMNS)}")
    problems: list[str] = []
    rows: list[SplitRow] = []
    for row, cells in enumerate(lines[1:]):
        found = _row_problems(cells)
        problems += [f"{path}:{row + 2}: {problem}" for problem in found]
        if not found:
            image, mask, role, group, *hashes = cells
            rows.append(SplitRow(row, image, mask, cast(Role, role), group, *hashes))
    problems += [f"{path}: {problem}" for problem in _split_problems(rows, whole=not problems)]
    if problems:
        raise list_problems(problems)
    return rows


def verify_split(rows: Iterable[SplitRow], root: Path) -> None:
    """Check that the train and val files are there and unchanged. Test files are not opened.

    Raises:
        DataError: every file that is missing or has changed.
    """
    expected = [
        item
        for row in rows
        if row.role != "test"
        for item in ((row.image, row.image_sha256), (row.mask, row.mask_sha256))
    ]
    with ThreadPoolExecutor(_THREADS) as pool:
        found = pool.map(lambda item: _changed(root, *item), expected)
        problems = [problem for problem in found if problem is not None]
    if problems:
        raise list_problems(problems, f"{root}: ")


def inside(root: Path, relative: str) -> Path:
    """The file a row names. Raises DataError where a link leads out of the root."""
    path = root / relative
    if not path.resolve().is_relative_to(root.resolve()):
        raise DataError(f"{path}: a link that leaves the folder; put the file itself here")
    return path


def _assign(sizes: Mapping[str, int], config: SplitConfig) -> dict[str, Role]:
    """A role for each group, as near to the wanted shares as whole groups allow."""
    if len(sizes) < 2:
        raise DataError("only one different image; a split needs at least one to train, one to val")
    total = sum(sizes.values())
    n_val = min(max(1, round(total * config.fractions[1])), total - 1)
    n_test = min(round(total * config.fractions[2]), total - n_val - 1)
    room: dict[Role, int] = {"val": n_val, "test": n_test}
    roles: dict[str, Role] = {}
    for name in sorted(sizes, key=lambda name: _rank(config.seed, name)):
        fitting: list[Role] = [role for role in room if sizes[name] <= room[role]]
        roles[name] = fitting[0] if fitting else "train"
        if fitting:
            room[fitting[0]] -= sizes[name]
    if "val" not in roles.values():  # every group was larger than the room: the smallest goes
        train = [name for name, role in roles.items() if role == "train"]
        spare = train if len(train) > 1 else [name for name in roles if name not in train]
        roles[min(spare, key=lambda name: sizes[name])] = "val"
    return roles


def _rank(seed: int, name: str) -> bytes:
    """A position that no library's generator decides, so that it never changes."""
    return hashlib.sha256(f"{seed} {name}".encode()).digest()


def _read_csv(path: Path) -> list[list[str]]:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise DataError(f"{path}: larger than {_MOST_BYTES // 1_000_000} MB; not a split")
        text = path.read_text(encoding="utf-8")
        return list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (csv.Error, UnicodeDecodeError, OSError) as error:
        raise DataError(f"{path}: not a CSV file in UTF-8: {error}") from None


def _row_problems(cells: list[str]) -> list[str]:
    if len(cells) != len(COLUMNS):
        return [f"has {len(cells)} cells; {len(COLUMNS)} are needed"]
    image, mask, role, group, *hashes = cells
    problems = [
        f"{column}: {path!r} must be a path below the data folder, with /"
        for column, path in (("image", image), ("mask", mask))
        if not _is_safe(path)
    ]
    if role not in ROLES:
        problems.append(f"role: {role!r} is no role{nearest(role, ROLES)}")
    if not group:
        problems.append("group: is empty")
    problems += [
        f"{column}: {value!r} is no SHA-256 of 64 hexadecimal digits"
        for column, value in zip(COLUMNS[4:], hashes, strict=True)
        if not _HASH.fullmatch(value)
    ]
    return problems


def _is_safe(path: str) -> bool:
    parts = PurePosixPath(path).parts
    plain = path.isprintable() and "\\" not in path and ":" not in path
    return bool(parts) and plain and not path.startswith("/") and ".." not in parts


def _split_problems(rows: list[SplitRow], *, whole: bool) -> list[str]:
    """What is wrong between rows: pictures on two sides, files named twice, nobody to train."""
    problems: list[str] = []
    for column in ("group", "image_sha256"):
        first: dict[str, SplitRow] = {}
        for row in rows:
            other = first.setdefault(getattr(row, column), row)
            if other.role != row.role:
                problems.append(
                    f"{row.image} ({row.role}) and {other.image} ({other.role}) have one {column}; "
                    "one picture must not lie on two sides"
                )
    for column in ("image", "mask"):
        counts = Counter(getattr(row, column) for row in rows)
        problems += [f"{column}: {name} is named twice" for name, n in counts.items() if n > 1]
    if whole:
        roles = {row.role for row in rows}
        problems += [
            f"no row has the role {role}" for role in ("train", "val") if role not in roles
        ]
    return problems


def _changed(root: Path, relative: str, expected: str) -> str | None:
    try:
        actual = files.sha256(inside(root, relative))
    except DataError as error:
        return str(error)
    except OSError:
        return f"{relative}: is missing, but the split names it"
    return None if actual == expected else f"{relative}: has changed since the split was made"
