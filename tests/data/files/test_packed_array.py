from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.core.errors import DataError
from harness.data.files.chunks import ChunkFile, Codec, encode_chunk, write_chunks
from harness.data.files.packed_array import PackedArray


def packed(folder: Path, array: NDArray[Any], codec: Codec = "zstd") -> PackedArray:
    with write_chunks(folder, "images") as writer:
        writer.extend(encode_chunk(image, codec) for image in array)
    chunks = ChunkFile(folder, "images", len(array), codec)
    return PackedArray(chunks, array.shape, array.dtype)


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
@pytest.mark.parametrize("is_smooth", [True, False])
@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((4, 50, 70, 3), np.uint8), ((4, 50, 70), np.uint8), ((4, 40, 40, 5), np.uint16)],
)
def test_images_are_restored_exactly(
    tmp_path: Path, shape: tuple[int, ...], dtype: Any, codec: Codec, *, is_smooth: bool
) -> None:
    """Smooth images are compressed; random ones are kept as plain values."""
    rng = np.random.default_rng(0)
    array = rng.integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)
    if is_smooth:
        array[:] = np.arange(shape[1], dtype=dtype)[(..., *[None] * (len(shape) - 2))]
    restored = np.asarray(packed(tmp_path, array, codec))
    stored_bytes = (tmp_path / "images.chunks").stat().st_size
    assert stored_bytes < array.nbytes / 2 if is_smooth else stored_bytes == array.nbytes
    assert restored.dtype == dtype
    np.testing.assert_array_equal(restored, array)


def test_index_means_the_same_as_in_an_array(tmp_path: Path) -> None:
    array = np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3)
    images = packed(tmp_path, array)
    keys: list[Any] = [
        *(2, -1, np.int64(3), slice(1, 4), slice(None), [3, 1], np.array([4, 4, 0])),
        np.array([True, False, False, True, True]),
        *((2, slice(1, 3), 0), ([0, 3], slice(None), slice(0, 2)), np.array([], np.int64)),
    ]
    for key in keys:
        np.testing.assert_array_equal(images[key], array[key])
    assert len(images) == 5 and list(images[4].ravel()) == list(array[4].ravel())


@pytest.mark.parametrize("index", [5, -6])
def test_index_outside_is_an_error(tmp_path: Path, index: int) -> None:
    images = packed(tmp_path, np.ones((5, 2, 2), np.uint8))
    with pytest.raises(IndexError):
        images[index]


def test_images_of_zeros_take_no_space(tmp_path: Path) -> None:
    images = packed(tmp_path, np.zeros((3, 100, 100), np.uint8))
    assert (tmp_path / "images.chunks").stat().st_size == 0
    assert images[1].shape == (100, 100) and not np.asarray(images).any()


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
def test_file_that_is_damaged_later_is_named(tmp_path: Path, codec: Codec) -> None:
    array = np.ones((3, 10, 10), np.uint8)
    packed(tmp_path, array, codec)
    path = tmp_path / "images.chunks"
    path.write_bytes(b"\xff" * path.stat().st_size)
    images = PackedArray(ChunkFile(tmp_path, "images", 3, codec), array.shape, array.dtype)
    with pytest.raises(DataError, match=r"images\.chunks: damaged; delete its folder"):
        images[0]
