import io
import struct
from typing import Any

import numpy as np
import pytest
import tifffile

from harness.data.files.byte_reader import FileBytes
from harness.data.files.geotiff import GeoTag, read_geo_tags
from harness.data.files.tiff import decode_tiff, encode_tiff_mask

KEYS = (1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, 32633)
UTM = [
    (33550, 12, 3, (0.5, 0.5, 0.0)),
    (33922, 12, 6, (0.0, 0.0, 0.0, 412345.25, 5654321.75, 0.0)),
    (34735, 3, len(KEYS), KEYS),
    (34737, 2, 22, b"WGS 84 / UTM zone 33N\0"),
]
MASK = np.arange(40 * 30, dtype=np.uint8).reshape(40, 30) % 3


def tiff_bytes(tags: list[tuple[int, int, int, Any]], **storage: Any) -> bytes:
    file = io.BytesIO()
    extratags = [(*tag, True) for tag in tags]
    image = np.zeros((40, 30, 3), np.uint8)
    tifffile.imwrite(file, image, photometric="rgb", extratags=extratags, **storage)
    return file.getvalue()


@pytest.mark.parametrize("storage", [{}, {"byteorder": ">"}, {"bigtiff": True}])
def test_tags_are_read(storage: dict[str, Any]) -> None:
    data = tiff_bytes(UTM, **storage)
    expected = tuple(GeoTag(*tag) for tag in UTM)
    assert read_geo_tags(data) == expected
    assert read_geo_tags(FileBytes(io.BytesIO(data), len(data))) == expected


@pytest.mark.parametrize("palette", [None, np.array([[0, 0, 0], [255, 0, 9], [1, 2, 3]], np.uint8)])
def test_mask_has_the_tags_of_its_image(palette: Any) -> None:
    """Read with tifffile, which knows the tags by their names."""
    data = encode_tiff_mask(MASK, read_geo_tags(tiff_bytes(UTM, byteorder=">")), palette)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages[0]
        assert isinstance(page, tifffile.TiffPage)
        assert page.geotiff_tags["ProjectedCSTypeGeoKey"] == 32633
        assert page.tags["ModelPixelScaleTag"].value == UTM[0][3]
        assert page.tags["ModelTiepointTag"].value == UTM[1][3]
        assert page.tags["GeoAsciiParamsTag"].value == "WGS 84 / UTM zone 33N"
        np.testing.assert_array_equal(file.asarray(), MASK)
        if palette is not None:
            assert page.colormap is not None
            np.testing.assert_array_equal(page.colormap.T[:3] >> 8, palette)
    np.testing.assert_array_equal(decode_tiff(data)[..., 0], MASK)


@pytest.mark.parametrize(
    "tags",
    [
        [],
        UTM[:2],  # a scale without a coordinate system
        [(33550, 12, 3, (float("nan"), 1.0, 0.0)), *UTM[1:]],
    ],
)
def test_file_without_usable_tags_is_no_geotiff(tags: list[tuple[int, int, int, Any]]) -> None:
    assert read_geo_tags(tiff_bytes(tags)) == ()


def test_tag_beyond_the_end_is_ignored() -> None:
    data = bytearray(tiff_bytes(UTM))
    entry = data.index(struct.pack("<HHI", 34735, 3, len(KEYS)))
    data[entry + 8 : entry + 12] = struct.pack("<I", len(data))
    assert read_geo_tags(bytes(data)) == ()
    data[entry + 4 : entry + 8] = struct.pack("<I", 2**31)
    assert read_geo_tags(bytes(data)) == ()


def test_bytes_that_are_no_tiff_have_no_tags() -> None:
    for data in (b"", b"II*\0", b"II*\0\xff\xff\xff\xff", b"\x89PNG\r\n\x1a\n"):
        assert read_geo_tags(data) == ()
