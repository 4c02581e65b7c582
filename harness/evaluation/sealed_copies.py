"""Images of a further data set that a study has already: the same file, pixels or picture."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness.data.copies import Copy, find_copies
from harness.data.look import Fingerprint, fingerprint
from harness.data.looks import looks_path, read_looks
from harness.data.pairs import list_problems
from harness.data.split_file import SplitRow, inside
from harness.data.union import Union
from harness.data_config import StudyDataConfig
from harness.errors import DataError

_THREADS: Final = 4
_MOST_NAMED: Final = 5
_SAME: Final = {"exact": "equal pixels", "near": "the same picture in another form"}

Said = Callable[[str], None]


@dataclass(frozen=True)
class StudyImages:
    """The images of a study, to compare others with.

    Attributes:
        rows: of `split.csv`.
        root: the folder that the rows' paths are relative to; None: it is gone.
        name: of the data set, under which the cache keeps what was seen of it.
        looks: the folder of that cache.
    """

    rows: tuple[SplitRow, ...]
    root: Path | None
    name: str
    looks: Path


def check_unseen(
    name: str,
    root: Path,
    rows: Sequence[SplitRow],
    study: StudyImages,
    data: StudyDataConfig,
    max_pixels: float,
    said: Said | None = None,
) -> None:
    """Check that no image of a further data set is one of the study, in whatever form.

    Equal files and equal pixels are found, and near copies as a split finds them: encoded again,
    resized, mirrored, turned by right angles. Masks are not opened.

    Args:
        name: of the further data set.
        said: called with a line for what is worth a warning: one picture several times in the
            set, or images of the study that could not be compared.

    Raises:
        DataError: images of the study among them; an image that cannot be read; images of train
            or val that are gone, so that nobody can tell.
    """
    of_study = _of_study(name, study, data, max_pixels, said)
    of_set = _of_set(root, rows, data, max_pixels)
    seen = list(of_study)
    prints = [*of_study.values(), *of_set]
    copies = find_copies([one.pixels for one in prints], [one.thumbnail for one in prints])
    first = len(seen)
    exact = {copy.other for copy in copies if copy.kind == "exact" and copy.one < first}
    same_file = {row.image_sha256: row for row in reversed(study.rows)}
    known: dict[int, str] = {}
    groups = Union(len(prints))
    for copy in copies:
        groups.join(copy.one, copy.other)
    for place, row in enumerate(rows):
        leader = groups.leader(first + place)
        if row.image_sha256 in same_file:
            known[place] = _named(row, same_file[row.image_sha256], "the same file")
        elif leader < first:
            how = _SAME["exact" if first + place in exact else "near"]
            known[place] = _named(row, seen[leader], how)
    if known:
        raise DataError(
            f"--on {name}: {len(known)} of its {len(rows)} images are in the study's split.csv: "
            f"{_listed(list(known.values()))}; leave them out"
        )
    if said is not None:
        _warn_of_copies(name, rows, copies, first, said)


def _of_set(
    root: Path, rows: Sequence[SplitRow], data: StudyDataConfig, max_pixels: float
) -> list[Fingerprint]:
    found = _fingerprints(root, rows, data, max_pixels)
    problems = [one for one in found if isinstance(one, str)]
    if problems:
        raise list_problems(problems)
    return [one for one in found if not isinstance(one, str)]


def _of_study(
    name: str, study: StudyImages, data: StudyDataConfig, max_pixels: float, said: Said | None
) -> dict[SplitRow, Fingerprint]:
    """Fingerprints of the study's images: those that the cache keeps, the others decoded."""
    kept = {
        image: Fingerprint(image, look.pixels, look.thumbnail)
        for (image, _), look in read_looks(looks_path(study.looks, study.name, data)).items()
    }
    missing = [row for row in study.rows if row.image_sha256 not in kept]
    if study.root is not None and missing:
        found = _fingerprints(study.root, missing, data, max_pixels)
        kept |= {one.image_sha256: one for one in found if isinstance(one, Fingerprint)}
    absent = [row for row in missing if row.image_sha256 not in kept]
    learnt = [row.image for row in absent if row.role != "test"]
    if learnt:
        raise DataError(
            f"--on {name}: cannot be compared with {len(learnt)} of the {len(study.rows)} images "
            f"of the study, the first {learnt[0]!r}: gone from {study.root or 'the data folders'}, "
            "or changed; put the study's data back"
        )
    if absent and said is not None:
        said(
            f"warning: --on {name}: compared by the hash of the file only with {len(absent)} of "
            f"the {len(study.rows)} images of the study: test images that are gone or changed"
        )
    return {row: kept[row.image_sha256] for row in study.rows if row.image_sha256 in kept}


def _fingerprints(
    root: Path, rows: Sequence[SplitRow], data: StudyDataConfig, max_pixels: float
) -> list[Fingerprint | str]:
    def one(row: SplitRow) -> Fingerprint | str:
        try:
            return fingerprint(inside(root, row.image), data, max_pixels)
        except DataError as error:
            return str(error)

    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(one, rows))


def _named(row: SplitRow, of_study: SplitRow, how: str) -> str:
    return f"{row.image!a} as {of_study.role} ({of_study.image!a}, {how})"


def _listed(texts: Sequence[str]) -> str:
    more = len(texts) - _MOST_NAMED
    return ", ".join(texts[:_MOST_NAMED]) + (f", and {more} more" if more > 0 else "")


def _warn_of_copies(
    name: str, rows: Sequence[SplitRow], copies: Sequence[Copy], first: int, said: Said
) -> None:
    """Name pictures that the set holds more than once: each copy counts in every mean."""
    texts = [
        f"{rows[copy.one - first].image!a} = {rows[copy.other - first].image!a} "
        f"({_SAME[copy.kind]})"
        for copy in copies
        if copy.one >= first
    ]
    if texts:
        counted = f"copies within it, {len(texts)} of {len(rows)} images, each of which counts"
        said(f"warning: --on {name}: {counted}: {_listed(texts)}")
