"""A cleaned copy of a dataset; the original is never touched."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from harness import files
from harness.data.copies import Copy
from harness.data.encode import png
from harness.data.look import Look, Overview
from harness.data.pictures import read_pair
from harness.data.sources import Dataset, Pair, list_problems
from harness.data.suspects import Box, Sides
from harness.data.whole import building
from harness.data_config import VOID, StudyDataConfig
from harness.errors import DataError
from harness.inspection.findings import has_border, same_mask
from harness.wording import count

LOG: Final = "cleaned.csv"
COLUMNS: Final = ("image", "mask", "written_image", "written_mask", "done")
BINARY_VOID: Final = 128  # in written two-class masks, where 0, 1 and 255 have a meaning
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
_RADIUS_PX: Final = 3
_AROUND_PX: Final = 2  # about a box: characters have soft edges

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Cleaned:
    """What became of one pair: where it was written (() if left out), and what was done."""

    pair: Pair
    written: tuple[Path, ...]
    done: tuple[str, ...]


def clean(
    overview: Overview,
    copies: Sequence[Copy],
    target: Path,
    *,
    cover_text: bool = False,
    keep_copies: bool = False,
    progress: Progress | None = None,
) -> list[Cleaned]:
    """Write the pairs of an overview to `target`, with a log, whole or not at all.

    Images and masks are upright PNGs without the black border; masks of two classes are 0 and 255.
    Of pictures with equal pixels and masks the first is kept; of those with other masks each.

    Args:
        cover_text: paint suspected text over with what surrounds it. Some lines of a picture may
            be missed: this takes away hints for a network, it does not anonymise.
        keep_copies: keep pictures with equal pixels and masks, too.
        progress: called with pairs done and pairs in all.

    Raises:
        DataError: a target that holds something or lies inside the dataset; two files that would
            get one name; an image that PNG cannot hold.
    """
    dataset = overview.dataset
    check_target(dataset.root, target)
    _check_names(dataset.pairs)
    first = {} if keep_copies else _repeated(overview, copies)
    other_mask = _annotated_twice(overview, copies, first)
    log = [Cleaned(bad.pair, (), (f"left out: {bad.problem}",)) for bad in overview.bad]
    with building(target) as temporary:
        for index, (pair, look) in enumerate(zip(dataset.pairs, overview.looks, strict=True)):
            if index in first:
                same = dataset.pairs[first[index]].image.as_posix()
                log.append(Cleaned(pair, (), (f"left out: equal pixels and mask as {same}",)))
            else:
                covered = look.seen.text if cover_text else ()
                written = _write(temporary, dataset, pair, look, covered)
                if index in other_mask:
                    same = dataset.pairs[other_mask[index]].image.as_posix()
                    kept = f"kept: equal pixels as {same}, but another mask; keep the right one"
                    written = replace(written, done=(*written.done, kept))
                log.append(written)
            if progress is not None:
                progress(index + 1, len(dataset.pairs))
        text = _as_csv(log)
        files.write_text(temporary / LOG, text)
    if not (target / LOG).is_file() or (target / LOG).read_text(encoding="utf-8") != text:
        raise DataError(f"{target}: something else was written there meanwhile; name another")
    return log


def _repeated(overview: Overview, copies: Sequence[Copy]) -> dict[int, int]:
    """Pairs that an earlier one repeats, pixels and mask, with that one's index."""
    groups: dict[int, list[int]] = {}
    for two in copies:
        if two.kind == "exact":
            groups.setdefault(two.one, [two.one]).append(two.other)
    found: dict[int, int] = {}
    for members in groups.values():
        kept: list[int] = []
        for index in members:
            look = overview.looks[index]
            same = next((one for one in kept if same_mask(overview.looks[one], look)), None)
            if same is None:
                kept.append(index)
            else:
                found[index] = same
    return found


def _annotated_twice(
    overview: Overview, copies: Sequence[Copy], left_out: Mapping[int, int]
) -> dict[int, int]:
    """Pairs that are kept beside one of equal pixels and another mask, with that one's index."""
    return {
        two.other: two.one
        for two in copies
        if two.kind == "exact"
        and two.other not in left_out
        and not same_mask(overview.looks[two.one], overview.looks[two.other])
    }


def written_meaning(data: StudyDataConfig, root: str) -> StudyDataConfig:
    """What the values in a cleaned copy mean."""
    void = (BINARY_VOID if data.task == "binary" else VOID) if data.has_void else None
    return StudyDataConfig.model_validate(
        {**data.model_dump(), "root": root, "values": None, "ignore_index": void}
    )


def check_target(source: Path, target: Path) -> None:
    """Raise DataError where nothing can be written without touching what is there."""
    if target.resolve().is_relative_to(source.resolve()):
        raise DataError(f"{target}: lies inside {source}; name a folder beside it")
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise DataError(f"{target}: is there and no folder; name a new one")
    if target.is_dir() and any(target.iterdir()):
        raise DataError(f"{target}: is not empty; name a new folder, or remove it")


def _check_names(pairs: Sequence[Pair]) -> None:
    first: dict[Path, Path] = {}
    problems = []
    for path in (path for pair in pairs for path in (pair.image, *pair.masks)):
        other = first.setdefault(path.with_suffix(".png"), path)
        if other != path:
            problems.append(f"{path} and {other}: would both become a .png; rename one")
    if problems:
        raise list_problems(problems)


def _write(
    folder: Path, dataset: Dataset, pair: Pair, look: Look, text: tuple[Box, ...]
) -> Cleaned:
    data = dataset.data
    masks = [dataset.root / mask for mask in pair.masks]
    loaded = read_pair(dataset.root / pair.image, masks, data, dataset.max_pixels)
    if (loaded.image_sha256, loaded.mask_sha256) != (look.image_sha256, look.mask_sha256):
        raise DataError(f"{dataset.root / pair.image}: changed while it was cleaned; try again")
    image, mask, done = loaded.image, loaded.mask, list[str]()
    if look.seen.stored.orientation != 1:
        done.append(f"turned upright (EXIF orientation {look.seen.stored.orientation})")
    if text:
        image = _covered(image, text, pair.image)
        done.append(f"suspected text covered in {count(len(text), 'place')}")
    if has_border(look):
        lost = int(np.count_nonzero(mask)) - int(np.count_nonzero(_cropped(mask, look.seen.border)))
        image, mask = (_cropped(picture, look.seen.border) for picture in (image, mask))
        sides = "{} top, {} right, {} bottom, {} left".format(*look.seen.border)
        done.append(f"black border cropped: {sides}, and {count(lost, 'mask pixel')} with it")
    if look.seen.mask.kind == "noisy":
        done.append("mask cut at 127")
    written = tuple(path.with_suffix(".png") for path in (pair.image, *pair.masks))
    for path, picture in zip(written, (image, *_stored_masks(mask, data)), strict=True):
        _save(folder / path, picture)
    return Cleaned(pair, written, tuple(done))


def _cropped(picture: NDArray[np.uint8], border: Sides) -> NDArray[np.uint8]:
    top, right, bottom, left = border
    height, width = picture.shape[:2]
    return np.ascontiguousarray(picture[top : height - bottom, left : width - right])


def _covered(image: NDArray[np.uint8], text: tuple[Box, ...], path: Path) -> NDArray[np.uint8]:
    if image.dtype != np.uint8 or (image.ndim == 3 and image.shape[2] not in (1, 3)):
        raise DataError(f"{path}: text is covered in 8-bit grey or RGB only; omit --cover-text")
    where = np.zeros(image.shape[:2], np.uint8)
    for top, left, high, wide in text:
        rows = slice(max(0, top - _AROUND_PX), top + high + _AROUND_PX)
        where[rows, max(0, left - _AROUND_PX) : left + wide + _AROUND_PX] = 1
    return np.asarray(cv2.inpaint(image, where, _RADIUS_PX, cv2.INPAINT_TELEA), np.uint8).reshape(
        image.shape
    )


def _stored_masks(mask: NDArray[np.uint8], data: StudyDataConfig) -> list[NDArray[np.uint8]]:
    if mask.ndim == 3:
        return [255 * plane for plane in np.moveaxis(mask, 2, 0)]
    if data.task != "binary":
        return [mask]
    stored = 255 * (mask == 1).astype(np.uint8)
    stored[mask == VOID] = BINARY_VOID
    return [stored]


def _save(path: Path, picture: NDArray[np.uint8]) -> None:
    try:
        data = png(picture)
    except DataError as error:
        raise DataError(f"{path}: {error}; nothing was written") from None
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _as_csv(log: Sequence[Cleaned]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for one in sorted(log, key=lambda one: one.pair.stem):
        image, *masks = [path.as_posix() for path in one.written] or ["", ""]
        cells = [
            one.pair.image.as_posix(),
            "|".join(mask.as_posix() for mask in one.pair.masks),
            image,
            "|".join(masks),
            "; ".join(one.done) or "nothing",
        ]
        writer.writerow(f"'{cell}" if cell.startswith(_FORMULA) else cell for cell in cells)
    return text.getvalue()
