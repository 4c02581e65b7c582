"""Write a cleaned copy of a dataset; the original is never changed."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from harness.config.data import IGNORE_INDEX, StudyDataConfig
from harness.core import files
from harness.core.atomic_dir import atomic_directory
from harness.core.errors import DataError
from harness.core.text import count, quote_formula
from harness.data.datasets.sources import Dataset, ImageMaskPair, problems_error
from harness.data.files.encode import encode_png
from harness.data.files.image_io import read_pair
from harness.data.files.source import FolderSource
from harness.data.scan.image_artifacts import Box, Sides
from harness.data.scan.near_duplicates import DuplicatePair
from harness.data.scan.scan import DatasetScan, PairStats
from harness.inspection.pair_checks import has_border, same_mask

LOG_NAME: Final = "cleaned.csv"
COLUMNS: Final = ("image", "mask", "written_image", "written_mask", "done")
BINARY_VOID: Final = 128  # in written two-class masks, where 0, 1 and 255 already have a meaning
_RADIUS_PX: Final = 3  # neighbourhood of cv2.inpaint, as in OpenCV's tutorial (Telea 2004)
_AROUND_PX: Final = 2  # margin around a box: characters have soft edges

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class CleanedPair:
    """Log entry of one pair: the written paths (() if left out) and the actions."""

    pair: ImageMaskPair
    written_paths: tuple[Path, ...]
    actions: tuple[str, ...]


def clean_dataset(
    scan: DatasetScan,
    copies: Sequence[DuplicatePair],
    target: Path,
    *,
    cover_text: bool = False,
    keep_copies: bool = False,
    progress: Progress | None = None,
) -> list[CleanedPair]:
    """Write the pairs of a scan and a log to `target`; after an error nothing is written.

    Images and masks are upright PNGs without the black border; masks of two classes are 0 and 255.
    Of images with equal pixels and equal masks the first is kept; if the masks differ, all are.

    Args:
        cover_text: inpaint suspected text from its surroundings. Some text may be missed: this
            removes shortcuts for a network, it does not anonymise.
        keep_copies: keep images with equal pixels and masks as well.
        progress: called with the number of pairs done and the total.

    Raises:
        DataError: the target is not empty or is inside the dataset; two files would get one name;
            PNG cannot hold an image.
    """
    dataset = scan.dataset
    if isinstance(dataset.source, FolderSource):
        check_target(dataset.source.root, target)
    # Before anything is written: x.jpg and x.bmp would overwrite each other as x.png.
    _check_names(dataset.pairs)
    # Near duplicates stay: whether two similar images are one scene is a guess.
    repeats = {} if keep_copies else _find_repeats(scan, copies)
    other_mask = _find_conflicting_masks(scan, copies, repeats)
    log = [CleanedPair(bad.pair, (), (f"left out: {bad.problem}",)) for bad in scan.bad_pairs]
    with atomic_directory(target) as temporary:
        for index, (pair, stats) in enumerate(zip(dataset.pairs, scan.pair_stats, strict=True)):
            if index in repeats:
                same_image = dataset.pairs[repeats[index]].image.as_posix()
                log.append(
                    CleanedPair(pair, (), (f"left out: equal pixels and mask as {same_image}",))
                )
            else:
                text_boxes = stats.seen.text if cover_text else ()
                written = _write_pair(temporary, dataset, pair, stats, text_boxes)
                if index in other_mask:
                    same_image = dataset.pairs[other_mask[index]].image.as_posix()
                    note = (
                        f"kept: equal pixels as {same_image}, but another mask; keep the right one"
                    )
                    written = replace(written, actions=(*written.actions, note))
                log.append(written)
            if progress is not None:
                progress(index + 1, len(dataset.pairs))
        text = _as_csv(log)
        files.write_text(temporary / LOG_NAME, text)
    # The folder appears by a rename, which a second process may have won with its own result.
    if not (target / LOG_NAME).is_file() or (target / LOG_NAME).read_text(encoding="utf-8") != text:
        raise DataError(f"{target}: another process wrote to it; name another folder")
    return log


def _find_repeats(scan: DatasetScan, copies: Sequence[DuplicatePair]) -> dict[int, int]:
    """Pairs that repeat pixels and mask of an earlier pair, with the index of that pair."""
    groups: dict[int, list[int]] = {}
    for duplicate in copies:
        if duplicate.kind == "exact":
            # Equal pixels are an equivalence, so the first copy of a group stands for all of it.
            groups.setdefault(duplicate.first, [duplicate.first]).append(duplicate.second)
    repeats: dict[int, int] = {}
    for members in groups.values():
        unique: list[int] = []
        for index in members:
            stats = scan.pair_stats[index]
            same = next(
                (candidate for candidate in unique if same_mask(scan.pair_stats[candidate], stats)),
                None,
            )
            if same is None:
                unique.append(index)
            else:
                repeats[index] = same
    return repeats


def _find_conflicting_masks(
    scan: DatasetScan, copies: Sequence[DuplicatePair], left_out: Mapping[int, int]
) -> dict[int, int]:
    """Kept pairs whose pixels, but not masks, equal those of an earlier pair, with its index."""
    return {
        duplicate.second: duplicate.first
        for duplicate in copies
        if duplicate.kind == "exact"
        and duplicate.second not in left_out
        and not same_mask(scan.pair_stats[duplicate.first], scan.pair_stats[duplicate.second])
    }


def cleaned_data_config(data: StudyDataConfig, root: str) -> StudyDataConfig:
    """Data settings for the values in a cleaned copy."""
    # Written masks have the values of the classes, so `values`, which lists those of the original,
    # must not remain.
    void = (
        (BINARY_VOID if data.task == "binary" else IGNORE_INDEX)
        if data.has_ignored_pixels
        else None
    )
    return StudyDataConfig.model_validate(
        {**data.model_dump(), "root": root, "values": None, "ignore_index": void}
    )


def check_target(source: Path, target: Path) -> None:
    """Raise DataError if writing to `target` could change existing files."""
    # Resolved, since a symbolic link may lead back into the dataset.
    if target.resolve().is_relative_to(source.resolve()):
        raise DataError(f"{target}: is inside {source}; name a folder outside of it")
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise DataError(f"{target}: exists and is not a folder; name a new one")
    if target.is_dir() and any(target.iterdir()):
        raise DataError(f"{target}: is not empty; name a new folder, or remove it")


def _check_names(pairs: Sequence[ImageMaskPair]) -> None:
    first: dict[Path, Path] = {}
    problems = []
    for path in (path for pair in pairs for path in (pair.image, *pair.masks)):
        earlier_path = first.setdefault(path.with_suffix(".png"), path)
        if earlier_path != path:
            problems.append(f"{path} and {earlier_path}: would both become a .png; rename one")
    if problems:
        raise problems_error(problems)


def _write_pair(
    folder: Path, dataset: Dataset, pair: ImageMaskPair, stats: PairStats, text: tuple[Box, ...]
) -> CleanedPair:
    data = dataset.data
    # With the hashes of the scan: boxes and borders below would not fit a file that changed since.
    loaded = read_pair(
        dataset.source, pair.image, pair.masks, data, dataset.max_pixels, stats.hashes
    )
    image, mask, actions = loaded.image, loaded.mask, list[str]()
    if stats.seen.stored.orientation != 1:
        actions.append(f"turned upright (EXIF orientation {stats.seen.stored.orientation})")
    if text:  # before the border is cropped, which would move the boxes
        image = _inpaint_text(image, text, pair.image)
        actions.append(f"suspected text covered in {count(len(text), 'place')}")
    if has_border(stats):
        lost = int(np.count_nonzero(mask)) - int(
            np.count_nonzero(_crop_border(mask, stats.seen.border))
        )
        image, mask = (_crop_border(array, stats.seen.border) for array in (image, mask))
        sides = "{} top, {} right, {} bottom, {} left".format(*stats.seen.border)
        actions.append(f"black border cropped: {sides}, and {count(lost, 'mask pixel')} with it")
    if stats.seen.mask.kind == "noisy":
        actions.append("mask cut at 127")
    written = tuple(path.with_suffix(".png") for path in (pair.image, *pair.masks))
    for path, stored in zip(written, (image, *_stored_masks(mask, data)), strict=True):
        _save_png(folder / path, stored)
    return CleanedPair(pair, written, tuple(actions))


def _crop_border(image: NDArray[np.uint8], border: Sides) -> NDArray[np.uint8]:
    top, right, bottom, left = border
    height, width = image.shape[:2]
    # Ends are counted from the size: a slice to -0 would be empty where a side has no border.
    return np.ascontiguousarray(image[top : height - bottom, left : width - right])


def _inpaint_text(image: NDArray[np.uint8], text: tuple[Box, ...], path: Path) -> NDArray[np.uint8]:
    if image.dtype != np.uint8 or (image.ndim == 3 and image.shape[2] not in (1, 3)):
        raise DataError(f"{path}: text is covered in 8-bit grey or RGB only; omit --cover-text")
    # cv2.inpaint accepts 8-bit images of one or three channels, hence the check above.
    region = np.zeros(image.shape[:2], np.uint8)
    for y, x, high, wide in text:
        rows = slice(max(0, y - _AROUND_PX), y + high + _AROUND_PX)
        region[rows, max(0, x - _AROUND_PX) : x + wide + _AROUND_PX] = 1
    return np.asarray(cv2.inpaint(image, region, _RADIUS_PX, cv2.INPAINT_TELEA), np.uint8).reshape(
        image.shape
    )


def _stored_masks(mask: NDArray[np.uint8], data: StudyDataConfig) -> list[NDArray[np.uint8]]:
    if mask.ndim == 3:
        return [255 * plane for plane in np.moveaxis(mask, 2, 0)]
    if data.task != "binary":
        return [mask]
    stored = 255 * (mask == 1).astype(np.uint8)
    # After the foreground: comparing with 1 has made void pixels 0.
    stored[mask == IGNORE_INDEX] = BINARY_VOID
    return [stored]


def _save_png(path: Path, image: NDArray[np.uint8]) -> None:
    try:
        data = encode_png(image)
    except DataError as error:
        raise DataError(f"{path}: {error}; nothing was written") from None
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _as_csv(log: Sequence[CleanedPair]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for entry in sorted(log, key=lambda entry: entry.pair.stem):
        image, *masks = [path.as_posix() for path in entry.written_paths] or ["", ""]
        cells = [
            entry.pair.image.as_posix(),
            "|".join(mask.as_posix() for mask in entry.pair.masks),
            image,
            "|".join(masks),
            "; ".join(entry.actions) or "nothing",
        ]
        writer.writerow(quote_formula(cell) for cell in cells)
    return text.getvalue()
