import errno
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from benchmarks.store_kills import kill_builders
from harness.config.data import SplitConfig, StudyDataConfig
from harness.core import files
from harness.core.errors import DataError
from harness.data.datasets.sources import open_dataset
from harness.data.files.source import FolderSource
from harness.data.scan.scan import scan_dataset_strict
from harness.data.splits.splits import SplitRow, make_split
from harness.data.windows import native_store as module
from harness.data.windows.native_store import NativeStore, open_store
from harness.data.windows.store_building import estimate_store_bytes
from harness.data.windows.window import Window, decode_images
from tests.data.make import DATA, MAX_PIXELS, folder, save, square


@pytest.fixture
def rows(tmp_path: Path) -> list[SplitRow]:
    """Eight pairs of several sizes, some larger than a chunk: 4 train, 2 val, 2 test."""
    root = folder(tmp_path / "data", 8)
    rng = np.random.default_rng(0)
    for index, path in enumerate(sorted((root / "images").iterdir())):
        height, width = 200 + 100 * index, 300 + 37 * index
        save(path, rng.integers(0, 256, (height, width, 3), np.uint8))
        (mask,) = (root / "masks").glob(f"{path.stem}.*")
        save(mask, 255 * square(height, width))
    data = open_dataset(root, DATA, max_pixels=MAX_PIXELS)
    return make_split(data, scan_dataset_strict(data), SplitConfig(fractions=(0.5, 0.25, 0.25)))


def opened(tmp_path: Path, rows: Sequence[SplitRow], **other: Any) -> NativeStore:
    settings: dict[str, Any] = {"folder": tmp_path / "cache", "max_pixels": MAX_PIXELS} | other
    return open_store(FolderSource(tmp_path / "data"), rows, StudyDataConfig(), **settings)


def built(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache").iterdir())


def test_any_window_equals_that_of_the_decoded_image(tmp_path: Path, rows: list[SplitRow]) -> None:
    store = opened(tmp_path, rows)
    used = [row for row in rows if row.role != "test"]
    whole = decode_images(FolderSource(tmp_path / "data"), used, StudyDataConfig(), MAX_PIXELS)
    rng = np.random.default_rng(1)
    assert len(store) == len(whole) == 6
    for row in range(6):
        height, width, _ = shape = store.shape(row)
        assert shape == whole.shape(row)
        for _ in range(20):
            top, left = int(rng.integers(height)), int(rng.integers(width))
            size = int(rng.integers(1, height - top + 1)), int(rng.integers(1, width - left + 1))
            window = Window(top, left, *size)
            np.testing.assert_array_equal(
                store.read_image(row, window), whole.read_image(row, window)
            )
            np.testing.assert_array_equal(
                store.read_mask(row, window), whole.read_mask(row, window)
            )


def test_second_call_reads_no_image(
    tmp_path: Path, rows: list[SplitRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(tmp_path, rows)
    monkeypatch.setattr(module, "write_store", None)
    assert len(opened(tmp_path, rows)) == 6
    assert len(built(tmp_path)) == 1


def test_test_files_are_never_opened(tmp_path: Path, rows: list[SplitRow]) -> None:
    for row in rows:
        if row.role == "test":
            (tmp_path / "data" / row.image).unlink()
            (tmp_path / "data" / row.mask).unlink()
    assert len(opened(tmp_path, rows)) == 6


def test_roles_and_range_share_a_store(tmp_path: Path, rows: list[SplitRow]) -> None:
    turned = {"train": "val", "val": "train", "test": "test"}
    other = [SplitRow(**{**vars(row), "role": turned[row.role]}) for row in rows]
    opened(tmp_path, rows)
    opened(tmp_path, other)
    assert len(built(tmp_path)) == 1


@pytest.mark.parametrize(
    "name", ["images.chunks", "images.npy", "masks.chunks", "masks.npy", "sizes.npy"]
)
def test_damaged_store_is_built_again(tmp_path: Path, rows: list[SplitRow], name: str) -> None:
    everything = Window(0, 0, 200, 300)
    expected = opened(tmp_path, rows).read_image(0, everything)
    path = built(tmp_path)[0] / name
    path.write_bytes(path.read_bytes()[:-1])
    np.testing.assert_array_equal(opened(tmp_path, rows).read_image(0, everything), expected)
    (built(tmp_path)[0] / name).unlink()
    np.testing.assert_array_equal(opened(tmp_path, rows).read_image(0, everything), expected)
    assert len(built(tmp_path)) == 1


def test_chunk_damaged_later_is_an_error_that_names_the_file(
    tmp_path: Path, rows: list[SplitRow]
) -> None:
    """Masks are compressed. The images of this test are noise, which is kept as plain values."""
    opened(tmp_path, rows)
    path = built(tmp_path)[0] / "masks.chunks"
    path.write_bytes(bytes(path.stat().st_size))
    store = opened(tmp_path, rows)
    with pytest.raises(DataError, match=r"masks\.chunks: damaged; delete its folder"):
        store.read_mask(0, Window(96, 96, 64, 64))


def test_changed_image_is_refused_and_nothing_is_left(tmp_path: Path, rows: list[SplitRow]) -> None:
    save(tmp_path / "data" / rows[0].image, np.zeros((200, 300, 3), np.uint8))
    used = [SplitRow(**{**vars(rows[0]), "role": "train"}), *rows[1:]]
    with pytest.raises(DataError, match="has changed since its hash was recorded"):
        opened(tmp_path, used)
    assert built(tmp_path) == []


def test_threads_that_build_at_once_all_succeed(tmp_path: Path, rows: list[SplitRow]) -> None:
    with ThreadPoolExecutor(4) as pool:
        stores = list(pool.map(lambda _: opened(tmp_path, rows), range(4)))
    sums = {int(store.read_image(5, Window(0, 0, 256, 256)).sum()) for store in stores}
    assert len(sums) == 1 and len(built(tmp_path)) == 1


def test_builders_that_are_killed_leave_no_store_or_a_complete_one(
    tmp_path: Path, rows: list[SplitRow]
) -> None:
    # It ends the process where a store is left that is neither complete nor built again as it was.
    outcomes = kill_builders(tmp_path / "data", rows, StudyDataConfig(), tmp_path / "cache", 6)
    assert outcomes.total() == 6


def test_disk_that_fills_up_while_a_store_is_built_is_named(
    tmp_path: Path, rows: list[SplitRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("harness.data.files.chunks.os.fsync", full)
    with pytest.raises(OSError, match="No space left") as raised:
        opened(tmp_path, rows)
    assert files.nearest_existing_folder(raised.value) == tmp_path / "cache"
    assert built(tmp_path) == []


def test_bytes_are_announced_and_compared_with_the_free_space(
    tmp_path: Path, rows: list[SplitRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of the six images are chosen for the estimate, so it is exact."""
    announced: list[int] = []

    def start(n_bytes: int) -> module.Progress:
        announced.append(n_bytes)
        return lambda done, total: None

    opened(tmp_path, rows, on_build_start=start)
    (store,) = built(tmp_path)
    assert announced == [sum(path.stat().st_size for path in store.glob("*.chunks"))]
    shutil.rmtree(store)
    free = type("Usage", (), {"free": announced[0] - 1})
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free)
    with pytest.raises(DataError, match="free disk space there or train on images of a") as raised:
        opened(tmp_path, rows)
    assert files.find_disk_error(raised.value) is not None


def test_estimate_of_a_large_image_decodes_one_band(
    tmp_path: Path, rows: list[SplitRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "large"
    root.mkdir()
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (900, 300, 3)).astype(np.uint8)
    tifffile.imwrite(root / "x.tif", image, photometric="rgb", tile=(128, 128))
    tifffile.imwrite(root / "m.tif", image[..., 0] // 128 * 255, rowsperstrip=50)
    row = SplitRow(0, "x.tif", "m.tif", "train", "x", "", "")
    arguments = FolderSource(root), [row], StudyDataConfig(), MAX_PIXELS
    whole = estimate_store_bytes(*arguments)
    monkeypatch.setattr("harness.data.files.large_image.WHOLE_PIXELS", 1000)
    monkeypatch.setattr("harness.data.windows.large_pair.LargePair.bands", None)
    assert estimate_store_bytes(*arguments) == pytest.approx(whole, rel=0.02)
