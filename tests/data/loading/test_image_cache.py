import errno
import hashlib
import multiprocessing
import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile

from harness.config.data import SplitConfig, StudyDataConfig
from harness.core import files
from harness.core.atomic_dir import atomic_directory
from harness.core.errors import DataError
from harness.data.datasets.sources import open_dataset
from harness.data.files.resize import Fit
from harness.data.files.source import FolderSource
from harness.data.loading import image_cache as module
from harness.data.loading.image_cache import ImageCache, open_cache
from harness.data.scan.scan import scan_dataset_strict
from harness.data.splits.splits import SplitRow, make_split
from tests.data.make import DATA, MAX_PIXELS, folder, picture, save, square


@pytest.fixture
def rows(tmp_path: Path) -> list[SplitRow]:
    """Eight pairs: 4 train, 2 val, 2 test."""
    data = open_dataset(folder(tmp_path / "data", 8), DATA, max_pixels=MAX_PIXELS)
    return make_split(data, scan_dataset_strict(data), SplitConfig(fractions=(0.5, 0.25, 0.25)))


def opened(tmp_path: Path, rows: Sequence[SplitRow], **other: Any) -> ImageCache:
    settings: dict[str, Any] = {"size": (16, 20), "fit": "stretch"}
    settings |= {"folder": tmp_path / "cache", "max_pixels": MAX_PIXELS} | other
    values = {key: settings.pop(key) for key in ("eval_size", "range") if key in settings}
    data = StudyDataConfig(**({"eval_size": 18} | values))
    return open_cache(FolderSource(tmp_path / "data"), rows, data, **settings)


def built(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache").iterdir())


def chunk_bytes(tmp_path: Path) -> int:
    return sum(path.stat().st_size for path in built(tmp_path)[0].glob("*.chunks"))


def test_images_that_cannot_be_read_leave_the_estimate_of_plain_arrays(tmp_path: Path) -> None:
    """6 images: 4 bytes for each of 16x20 pixels; 2 truths of 18x18."""
    missing = [
        SplitRow(row, f"{row}.png", f"{row}.png", "train" if row < 4 else "val", "g", "", "")
        for row in range(6)
    ]
    n_bytes = module.estimate_cache_bytes(
        FolderSource(tmp_path),
        missing,
        StudyDataConfig(eval_size=18),
        size=(16, 20),
        fit="stretch",
        max_pixels=MAX_PIXELS,
    )
    assert n_bytes == 6 * 16 * 20 * (3 + 1) + 2 * 18 * 18


def test_arrays_hold_train_and_val_in_order_of_row(tmp_path: Path, rows: list[SplitRow]) -> None:
    cache = opened(tmp_path, rows)
    used = [row for row in rows if row.role != "test"]
    assert cache.images.shape == (6, 16, 20, 3) and cache.masks.shape == (6, 16, 20)
    assert cache.truths.shape == (6, 18, 18) and cache.boxes.shape == (6, 4)
    assert cache.row_of.tolist() == [row.row for row in used]
    assert [used[i].role for i in cache.train] == ["train"] * 4
    assert [used[i].role for i in cache.val] == ["val"] * 2


def test_values_are_those_of_opencv(tmp_path: Path, rows: list[SplitRow]) -> None:
    """Images of 24x32 to 16x20 and truths to 18x18, each by area."""
    cache = opened(tmp_path, rows)
    small = cv2.resize(square().astype(np.float32), (20, 16), interpolation=cv2.INTER_AREA)
    truth = cv2.resize(square().astype(np.float32), (18, 18), interpolation=cv2.INTER_AREA)
    for index, row in enumerate(cache.row_of):
        image = cv2.resize(picture(int(row)), (20, 16), interpolation=cv2.INTER_AREA)
        np.testing.assert_array_equal(cache.images[index], image)
        np.testing.assert_array_equal(cache.masks[index], small >= 0.5)
    assert [t.tolist() for t in cache.truths[cache.val]] == [(truth >= 0.5).tolist()] * 2
    assert not cache.truths[cache.train].any()


@pytest.mark.parametrize(("fit", "box"), [("stretch", [0, 0, 40, 20]), ("pad", [0, 0, 15, 20])])
def test_boxes_say_where_the_image_is(
    tmp_path: Path, rows: list[SplitRow], fit: Fit, box: list[int]
) -> None:
    cache = opened(tmp_path, rows, size=(40, 20), fit=fit)
    assert cache.boxes.tolist() == [box] * 6
    assert cache.images[0][box[2] - 1].any()
    assert not cache.images[0][box[2] :].any() and not cache.masks[0][box[2] :].any()


def test_second_call_reads_no_image(
    tmp_path: Path, rows: list[SplitRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = opened(tmp_path, rows)
    monkeypatch.setattr("harness.data.loading.cache_entries.read_pair", None)
    again = opened(tmp_path, rows)
    np.testing.assert_array_equal(first.images, again.images)
    np.testing.assert_array_equal(first.truths, again.truths)
    assert len(built(tmp_path)) == 1


def test_building_is_announced_with_its_bytes_and_only_once(
    tmp_path: Path, rows: list[SplitRow]
) -> None:
    """All of the six images are chosen for the estimate, so it is exact."""
    said: list[int] = []

    def starts(n_bytes: int) -> module.Progress:
        said.append(n_bytes)
        return lambda done, total: None

    for _ in range(2):
        opened(tmp_path, rows, on_build_start=starts)
    assert said == [chunk_bytes(tmp_path)]


def test_of_trials_on_tiles_only_validation_images_are_opened_and_counted(
    tmp_path: Path, rows: list[SplitRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened_files: set[str] = set()
    steps: list[tuple[int, int]] = []
    original = FolderSource.open

    def noted(self: FolderSource, name: str) -> Any:
        opened_files.add(Path(name).stem)
        return original(self, name)

    monkeypatch.setattr(FolderSource, "open", noted)
    cache = opened(
        tmp_path,
        rows,
        fit="shrink",
        size=(40, 40),
        on_build_start=lambda n_bytes: lambda n_done, total: steps.append((n_done, total)),
    )
    assert opened_files == {Path(row.image).stem for row in rows if row.role == "val"}
    assert steps == [(1, 2), (2, 2)]
    assert not cache.images[cache.train].any() and not cache.masks[cache.train].any()
    assert chunk_bytes(tmp_path) < 4 * 40 * 40 * 3, "less than the plain images of training"
    whole = opened(tmp_path, rows, fit="pad", size=(24, 32))
    np.testing.assert_array_equal(cache.images[cache.val][:, :24, :32], whole.images[whole.val])
    np.testing.assert_array_equal(cache.truths[cache.val], whole.truths[whole.val])


def test_cache_cannot_be_written_through(tmp_path: Path, rows: list[SplitRow]) -> None:
    images = opened(tmp_path, rows).images
    with pytest.raises(TypeError, match="does not support item assignment"):
        images[0, 0, 0, 0] = 1  # type: ignore[index]
    with pytest.raises(ValueError, match="read-only"):
        images[0][...] = 0


@pytest.mark.parametrize("change", [{"size": (16, 16)}, {"fit": "pad"}, {"eval_size": 20}])
def test_other_settings_have_another_cache(
    tmp_path: Path, rows: list[SplitRow], change: dict[str, Any]
) -> None:
    opened(tmp_path, rows)
    opened(tmp_path, rows, **change)
    assert len(built(tmp_path)) == 2


def test_range_of_more_bits_has_another_cache_and_any_range_of_as_many_the_same(
    tmp_path: Path, rows: list[SplitRow]
) -> None:
    """Stored are the values of the file, in as many bits as the range needs."""
    depths = {0.5: np.uint8, 255: np.uint8, 1023: np.uint16, 4095: np.uint16}
    for high, dtype in depths.items():
        assert opened(tmp_path, rows, range=(0, high)).images.dtype == dtype
    assert len(built(tmp_path)) == 2


def test_other_content_has_another_cache(tmp_path: Path, rows: list[SplitRow]) -> None:
    opened(tmp_path, rows)
    save(tmp_path / "data" / rows[0].image, picture(99))
    data = open_dataset(tmp_path / "data", DATA, max_pixels=MAX_PIXELS)
    changed = make_split(data, scan_dataset_strict(data), SplitConfig(fractions=(0.5, 0.25, 0.25)))
    changed[0] = SplitRow(**{**vars(changed[0]), "role": "train"})
    np.testing.assert_array_equal(opened(tmp_path, changed, size=(24, 32)).images[0], picture(99))


def test_test_files_are_never_opened(tmp_path: Path, rows: list[SplitRow]) -> None:
    for row in rows:
        if row.role == "test":
            (tmp_path / "data" / row.image).unlink()
            (tmp_path / "data" / row.mask).unlink()
    assert len(opened(tmp_path, rows).images) == 6


def test_every_bad_file_is_named_and_nothing_is_left(tmp_path: Path, rows: list[SplitRow]) -> None:
    used = [row for row in rows if row.role != "test"]
    save(tmp_path / "data" / used[1].image, picture(50))
    (tmp_path / "data" / used[3].mask).unlink()
    with pytest.raises(DataError) as caught:
        opened(tmp_path, rows)
    lines = str(caught.value).splitlines()
    assert len(lines) == 2
    problem = "image or mask has changed since its hash was recorded; restore the file"
    assert lines[0].endswith(problem)
    assert lines[1].endswith(f"{used[3].mask}: no such file")
    assert built(tmp_path) == []


@pytest.mark.parametrize(
    "name",
    ["boxes.npy"]
    + [
        f"{name}.{suffix}" for name in ("images", "masks", "truths") for suffix in ("npy", "chunks")
    ],
)
def test_damaged_cache_is_built_again(tmp_path: Path, rows: list[SplitRow], name: str) -> None:
    expected = np.array(opened(tmp_path, rows).images)
    path = built(tmp_path)[0] / name
    path.write_bytes(path.read_bytes()[:-1])
    np.testing.assert_array_equal(opened(tmp_path, rows).images, expected)
    (built(tmp_path)[0] / name).unlink()
    np.testing.assert_array_equal(opened(tmp_path, rows).images, expected)
    assert len(built(tmp_path)) == 1


def test_interruption_leaves_nothing(tmp_path: Path, rows: list[SplitRow]) -> None:
    def interrupt(done: int, total: int) -> None:
        assert total == 6
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        opened(tmp_path, rows, on_build_start=lambda n_bytes: interrupt)
    assert built(tmp_path) == []


def test_progress_counts_every_image(tmp_path: Path, rows: list[SplitRow]) -> None:
    calls: list[tuple[int, int]] = []
    opened(tmp_path, rows, on_build_start=lambda n_bytes: lambda *done: calls.append(done))
    assert calls == [(done, 6) for done in range(1, 7)]


def test_threads_that_build_at_once_all_succeed(tmp_path: Path, rows: list[SplitRow]) -> None:
    start = threading.Barrier(4)

    def build(_: int) -> int:
        start.wait()
        return int(np.asarray(opened(tmp_path, rows).images).sum())

    with ThreadPoolExecutor(4) as pool:
        sums = list(pool.map(build, range(4)))
    assert len(set(sums)) == 1 and len(built(tmp_path)) == 1


def test_cache_that_vanishes_at_once_is_built_again(
    tmp_path: Path, rows: list[SplitRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process removes the first one between its rename and its opening."""
    n_built = 0

    @contextmanager
    def thief(place: Path) -> Iterator[Path]:
        nonlocal n_built
        with atomic_directory(place) as temporary:
            yield temporary
        n_built += 1
        if n_built == 1:
            shutil.rmtree(place)

    monkeypatch.setattr(module, "atomic_directory", thief)
    assert len(opened(tmp_path, rows).images) == 6
    assert n_built == 2


def _sum(tmp_path: Path, rows: list[SplitRow]) -> int:
    return int(np.asarray(opened(tmp_path, rows).images).sum())


def test_processes_that_build_at_once_all_succeed(tmp_path: Path, rows: list[SplitRow]) -> None:
    with ProcessPoolExecutor(2, multiprocessing.get_context("forkserver")) as pool:
        sums = list(pool.map(_sum, [tmp_path] * 4, [rows] * 4))
    assert sums == [_sum(tmp_path, rows)] * 4 and len(built(tmp_path)) == 1


def test_too_little_room_is_said_before_building(
    tmp_path: Path, rows: list[SplitRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(tmp_path, rows)
    needed = chunk_bytes(tmp_path)
    shutil.rmtree(tmp_path / "cache")
    usage = type("Usage", (), {"free": needed - 1})
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DataError, match=r"free disk space there or lower data\.image_size"):
        opened(tmp_path, rows)
    usage.free = needed  # type: ignore[attr-defined]
    assert len(opened(tmp_path, rows).images) == 6


def test_lack_of_room_is_known_as_such_by_a_worker(
    tmp_path: Path, rows: list[SplitRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1}))
    with pytest.raises(DataError, match="free disk space there") as raised:
        opened(tmp_path, rows)
    full = files.find_disk_error(raised.value)
    assert full is not None and files.nearest_existing_folder(full) == tmp_path / "cache"


def test_disk_that_fills_up_while_a_cache_is_built_is_named(
    tmp_path: Path, rows: list[SplitRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write to an open file names no file in its error."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as raised:
        opened(tmp_path, rows)
    assert files.nearest_existing_folder(raised.value) == tmp_path / "cache"
    assert built(tmp_path) == []


def test_image_that_cannot_be_read_for_a_moment_is_told_from_a_bad_one(
    tmp_path: Path, rows: list[SplitRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    open_file = FolderSource.open

    def flaky(self: FolderSource, path: str) -> Any:
        if path == used[2].image:
            raise OSError(errno.EIO, "Input/output error", path)
        return open_file(self, path)

    used = [row for row in rows if row.role != "test"]
    (tmp_path / "data" / used[0].image).write_bytes(b"no image")
    monkeypatch.setattr(FolderSource, "open", flaky)
    with pytest.raises(DataError, match="Input/output error") as raised:
        opened(tmp_path, rows)
    assert files.find_disk_error(raised.value, files.TRANSIENT_ERRNOS) is not None


def test_16_bit_images_of_five_channels_and_a_plane_per_class(tmp_path: Path) -> None:
    """Values as stored; each plane of a mask is reduced like a mask of its own."""
    made = np.random.default_rng(0).integers(0, 65536, (8, 12, 5), dtype=np.uint16)
    root = tmp_path / "d"
    for folder_name in ("images", "masks/a", "masks/b"):
        (root / folder_name).mkdir(parents=True)
    for stem in ("x", "y"):
        tifffile.imwrite(
            root / "images" / f"{stem}.tif", made, photometric="minisblack", planarconfig="contig"
        )
        save(root / "masks" / "a" / f"{stem}.png", 255 * square(8, 12))
        save(root / "masks" / "b" / f"{stem}.png", 255 - 255 * square(8, 12))
    data = StudyDataConfig(
        task="multilabel", classes=("a", "b"), channels=5, range=(0, 65535), eval_size=16
    )
    digests = [files.file_sha256(root / "images" / f"{stem}.tif") for stem in "xy"]
    rows = [
        SplitRow(
            row=row,
            image=f"images/{stem}.tif",
            mask=f"masks/a/{stem}.png|masks/b/{stem}.png",
            role="train" if row == 0 else "val",
            group=stem,
            image_sha256=digests[row],
            mask_sha256=_joined(root, stem),
        )
        for row, stem in enumerate("xy")
    ]
    cache = open_cache(
        FolderSource(root),
        rows,
        data,
        size=(8, 12),
        fit="stretch",
        folder=tmp_path / "c",
        max_pixels=MAX_PIXELS,
    )
    assert cache.images.dtype == np.uint16 and cache.masks.shape == (2, 8, 12, 2)
    np.testing.assert_array_equal(cache.images[0], made)
    np.testing.assert_array_equal(cache.masks[0].sum(axis=2), np.ones((8, 12)))
    assert cache.truths.shape == (2, 16, 16, 2) and cache.truths[1].any()


def _joined(root: Path, stem: str) -> str:
    digests = [files.file_sha256(root / "masks" / plane / f"{stem}.png") for plane in "ab"]
    return hashlib.sha256("".join(digests).encode()).hexdigest()


@pytest.mark.parametrize("fit", ["stretch", "pad"])
@pytest.mark.parametrize("settings", [{}, {"task": "multiclass", "classes": ("a", "b", "c", "d")}])
def test_large_images_are_reduced_in_bands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fit: Fit, settings: dict[str, Any]
) -> None:
    """The values of whole images but for rounding.

    It decides where a class has half an area, and before OpenCV 5 at centres between two pixels.
    """
    root, rng = tmp_path / "d", np.random.default_rng(0)
    root.mkdir()
    image = rng.integers(0, 256, (700, 530, 3)).astype(np.uint8)
    blocks = rng.integers(0, 4, (70, 53)).astype(np.uint8).repeat(10, 0).repeat(10, 1)
    tifffile.imwrite(root / "x.tif", image, photometric="rgb", tile=(64, 64))
    stored = blocks if settings else 255 * (blocks > 1).astype(np.uint8)
    tifffile.imwrite(root / "m.tif", stored, compression="lzw", rowsperstrip=30)
    hashes = [files.file_sha256(root / name) for name in ("x.tif", "m.tif")]
    rows = [SplitRow(0, "x.tif", "m.tif", "val", "x", *hashes)]
    data = StudyDataConfig(eval_size=90, **settings)

    def cached(name: str) -> ImageCache:
        folder, source = tmp_path / name, FolderSource(root)
        return open_cache(
            source, rows, data, size=(96, 64), fit=fit, folder=folder, max_pixels=MAX_PIXELS
        )

    whole = cached("whole")
    monkeypatch.setattr("harness.data.files.large_image.WHOLE_PIXELS", 1000)
    monkeypatch.setattr("harness.data.loading.cache_entries.read_pair", None)
    banded = cached("banded")
    assert np.abs(banded.images[0].astype(int) - whole.images[0]).max() <= 1
    np.testing.assert_array_equal(banded.boxes, whole.boxes)
    _, _, height, width = banded.boxes[0]
    for name, size in (("masks", (height, width)), ("truths", (90, 90))):
        masks = [getattr(cache, name)[0][: size[0], : size[1]] for cache in (banded, whole)]
        differs = masks[0] != masks[1]
        if settings:
            assert not differs[~centres_between_pixels(stored.shape, size)].any()
        else:
            shares = area_means((stored > 0).astype(float), size)
            assert np.abs(shares[differs] - 0.5).max(initial=0) < 1e-3


def centres_between_pixels(shape: tuple[int, ...], size: tuple[int, int]) -> Any:
    """True where the centre of an area lies between two rows or two columns of the whole mask."""
    rows, columns = (
        (2 * np.arange(n) + 1) * side % (2 * n) == 0 for n, side in zip(size, shape, strict=True)
    )
    return rows[:, None] | columns


def area_means(plane: Any, size: tuple[int, int]) -> Any:
    """Mean over the area of each pixel of the reduced plane, by a matrix for each side."""

    def weights(side: int, n: int) -> Any:
        starts, pixels = np.arange(n)[:, None] * side / n, np.arange(side)
        overlap = np.minimum(pixels + 1, starts + side / n) - np.maximum(pixels, starts)
        return overlap.clip(0) / (side / n)

    return weights(plane.shape[0], size[0]) @ plane @ weights(plane.shape[1], size[1]).T
