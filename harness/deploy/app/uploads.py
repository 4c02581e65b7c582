"""Uploaded bytes as a source of images: the checks for files of a data set apply to them."""

import io
from dataclasses import dataclass
from pathlib import PurePath

from harness.core.errors import DataError
from harness.data.files.decode import load_image_file
from harness.data.files.headers import read_header
from harness.data.files.image_io import decode_image
from harness.data.files.source import RelativePath
from harness.deploy.app.limits import MAX_VALUES
from harness.deploy.app.served_model import StoredImage

# Stands for the file in messages; the page puts the user's own name in its place.
_NAME = "image"


@dataclass(frozen=True)
class UploadSource:
    """A `DataSource` of a single file that exists in memory only."""

    data: bytes

    @property
    def root(self) -> PurePath:
        """Empty: the bytes lie in no folder."""
        return PurePath()

    def size(self, path: RelativePath) -> int:
        """Number of bytes."""
        return len(self.data)

    def open(self, path: RelativePath) -> io.BufferedIOBase:
        """Open the bytes for reading."""
        return io.BytesIO(self.data)


def read_upload(
    data: bytes, channels: int, value_range: tuple[float, float], *, n_planes: int
) -> StoredImage:
    """Decode an uploaded image (H, W, channels) as `read_image` does.

    Args:
        n_planes: number of probabilities for each pixel; with it the largest image shrinks.

    Raises:
        DataError: as `read_image`; the message has no file name.
    """
    check_size(data, n_planes)
    try:
        file = load_image_file(UploadSource(data), _NAME, MAX_VALUES)
        return decode_image(file, channels, value_range)
    except DataError as error:
        raise DataError(str(error).removeprefix(f"{_NAME}: ")) from None


def check_size(data: bytes, n_planes: int) -> None:
    """Check the size that the header states, before anything is decoded.

    Raises:
        DataError: not an image, or too large for the page.
    """
    try:
        header = read_header(data)
    except ValueError as error:
        raise DataError(str(error)) from None
    max_pixels = MAX_VALUES // n_planes
    if header.height * header.width > max_pixels:
        raise DataError(
            f"{header.width}x{header.height} is more than {max_pixels:,} pixels, the limit of this "
            "page; use harness predict"
        )
