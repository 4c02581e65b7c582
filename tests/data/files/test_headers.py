import io
import struct

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from harness.data.files.headers import read_header
from tests.data.make import encode, exif, picture

SUFFIXES = (".jpg", ".png", ".bmp", ".tif", ".webp")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("size", [(24, 37), (300, 17)])
def test_header_gives_the_size_before_decoding(suffix: str, size: tuple[int, int]) -> None:
    header = read_header(encode(suffix, picture(0, *size)))
    assert (header.height, header.width, header.orientation) == (*size, 1)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_header_refuses_every_shortened_file(suffix: str) -> None:
    """JPEG, BMP and WebP are refused at any cut; PNG and TIFF here or when they are decoded."""
    data = encode(suffix, picture(0))
    last = len(data) - (16 if suffix in (".png", ".tif") else 1)
    for length in range(0, last, 7):
        with pytest.raises(ValueError, match=r"ends too early|empty file|not a JPEG"):
            read_header(data[:length])


def test_header_finds_the_end_of_a_progressive_jpeg_with_restarts() -> None:
    options = (cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_RST_INTERVAL, 1)
    data = encode(".jpg", picture(1, 64, 48), *options)
    assert (read_header(data + b"appended").height, read_header(data).width) == (64, 48)
    with pytest.raises(ValueError, match="ends too early"):
        read_header(data[:-2] + b"\0\0")


@pytest.mark.parametrize("order", ["<", ">"])
def test_header_reads_the_exif_orientation_of_a_jpeg(order: str) -> None:
    data = encode(".jpg", picture(0))
    assert read_header(data[:2] + exif(6, order) + data[2:]).orientation == 6


def test_header_treats_a_broken_orientation_as_upright() -> None:
    data = encode(".jpg", picture(0))
    assert read_header(data[:2] + exif(77) + data[2:]).orientation == 1


def test_header_knows_which_formats_keep_values_exactly() -> None:
    lossless = {suffix: read_header(encode(suffix, picture(0))).lossless for suffix in SUFFIXES}
    assert lossless == {".jpg": False, ".png": True, ".bmp": True, ".tif": True, ".webp": True}
    lossy = encode(".webp", picture(0), cv2.IMWRITE_WEBP_QUALITY, 90)
    assert not read_header(lossy).lossless


def test_header_refuses_a_tiff_whose_data_lie_beyond_its_end() -> None:
    """One strip of 8 bytes said to begin at byte 1000 of a file of 62."""
    tags = [(256, 4, 1, 4), (257, 4, 1, 2), (273, 4, 1, 1000), (279, 4, 1, 8)]
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    data = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)
    with pytest.raises(ValueError, match="ends too early"):
        read_header(data)


def test_header_counts_the_samples_of_a_tiff() -> None:
    """OpenCV reads four grey samples as one, and more than four as BGRA."""
    for samples in (2, 4, 5, 8):
        stored = io.BytesIO()
        tifffile.imwrite(
            stored,
            np.zeros((6, 7, samples), np.uint8),
            photometric="minisblack",
            planarconfig="contig",
        )
        header = read_header(stored.getvalue())
        assert (header.height, header.width, header.samples) == (6, 7, samples)


def test_header_knows_alpha_bits_and_palettes() -> None:
    rgba = np.zeros((4, 5, 4), np.uint8)
    assert read_header(encode(".png", rgba)).alpha
    assert read_header(encode(".png", rgba.astype(np.uint16))).bits == 16
    stored = io.BytesIO()
    Image.new("P", (5, 4)).save(stored, "PNG")
    assert read_header(stored.getvalue()).palette
    assert not read_header(encode(".bmp", rgba[..., 0])).palette  # a palette of all greys: grey


def test_header_refuses_a_tiff_of_several_pages() -> None:
    pages = [np.zeros((8, 8), np.uint8)] * 2
    data = cv2.imencodemulti(".tif", pages)[1].tobytes()
    with pytest.raises(ValueError, match="several pages"):
        read_header(data)


@pytest.mark.parametrize("data", [b"hello, world", b"<!DOCTYPE html>", b"GIF89a" + bytes(40)])
def test_header_refuses_other_files(data: bytes) -> None:
    with pytest.raises(ValueError, match="not a JPEG, PNG, BMP, TIFF or WebP image"):
        read_header(data)


def test_header_never_fails_otherwise_on_damaged_bytes() -> None:
    """4000 files with random bytes put in: a header, or a ValueError."""
    rng = np.random.default_rng(0)
    originals = [encode(suffix, picture(0)) for suffix in SUFFIXES]
    refused = 0
    for index in range(4000):
        data = bytearray(originals[index % len(originals)])
        where = rng.integers(4, min(len(data), 200), 6)
        for at in where:
            data[at] = rng.integers(0, 256)
        try:
            assert read_header(bytes(data)).height >= 1
        except ValueError:
            refused += 1
    assert 0 < refused < 4000
