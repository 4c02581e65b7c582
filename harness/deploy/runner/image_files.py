"""Read JPEG, PNG, plain TIFF and .npy files to the values that the network was trained on.

What OpenCV would read differently from the training is refused. Fits images into the size of the
network, and writes masks. Needs numpy and OpenCV alone.
"""

import re
import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

TRUNCATED = "ends too early; copy or download it again"
_CUT = ", the most that is decoded at once; cut the image into parts"
JPEG_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")
SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".npy")
LISTED = (*SUFFIXES, ".jpe", ".jfif", ".bmp", ".webp", ".gif")  # the last three get an error
JPEG_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
# Values of TIFF tags with which OpenCV changes nothing: samples, bits, compression, predictor;
# orientation, bit order, planes, type of samples, and no tiles, are 1 or absent.
PLAIN_TIFF = {277: {1, 3}, 258: {8, 16}, 259: {1, 5, 8, 32946}, 317: {1, 2}}
PLAIN_TIFF |= {tag: {1} for tag in (274, 266, 284, 339, 322)}


class Header(NamedTuple):
    """Facts that a file states before its pixels; `samples` are without alpha (0 or 1)."""

    height: int
    width: int
    samples: int
    bits: int
    orientation: int = 1  # EXIF, 1..8
    alpha: int = 0


class Directory:
    """Directory of a TIFF file or of an EXIF block at an offset."""

    def __init__(self, data: bytes) -> None:
        self.data, self.order = data, "<" if data[:2] == b"II" else ">"
        self.start = self.unpack("I", 4)[0]
        self.end = self.start + 2 + 12 * self.unpack("H", self.start)[0]
        self.following = self.unpack("I", self.end)[0]

    def unpack(self, kinds: str, offset: int) -> tuple[Any, ...]:
        """Unpack numbers in the byte order of the file; struct.error beyond its end."""
        return struct.unpack_from(self.order + kinds, self.data, offset)

    def values(self, tag: int) -> tuple[int, ...]:
        """Numbers of a tag, of which the first entry counts; (1,) if it is absent."""
        for entry in range(self.start + 2, self.end, 12):
            code, kind, n = self.unpack("HHI", entry)
            if code == tag and kind in (1, 3, 4) and n:
                size = {1: 1, 3: 2, 4: 4}[kind]
                offset = entry + 8 if n * size <= 4 else self.unpack("I", entry + 8)[0]
                return self.unpack(f"{n}{'BHI'[size // 2]}", offset)
        return (1,)


def read_orientation(exif: bytes) -> int:
    """EXIF orientation 1..8 of a block; 1 if it is absent or broken."""
    try:
        value = Directory(exif).values(274)[0]
    except struct.error:
        return 1
    return value if 1 <= value <= 8 else 1


def read_jpeg_header(data: bytes) -> Header:
    """Walk through the segments to the end of the image, so that a truncated file is noticed."""
    frame, orientation, position, n_scans = (0, 0, 0, 0), 1, 2, 0
    while match := JPEG_MARKER.search(data, position):
        marker, start = match[1][0], match.end()
        n_scans += marker == 0xDA
        if n_scans > 100:  # each is a pass over the whole image
            raise ValueError("a damaged JPEG image")
        if marker == 0xD9:
            bits, height, width, samples = frame
            return Header(height, width, 1 if samples == 1 else 3, bits, orientation)
        length = struct.unpack_from(">H", data, start)[0]
        if marker in JPEG_FRAMES and not any(frame):
            frame = struct.unpack_from(">BHHB", data, start + 2)
        elif marker == 0xE1 and data[start + 2 : start + 8] == b"Exif\0\0":
            orientation = read_orientation(data[start + 8 : start + length])
        position = start + max(length, 2)
    raise ValueError(TRUNCATED)


def read_png_header(data: bytes) -> Header:
    """Walk through the chunks to the last one; without it the file is truncated."""
    width, height, bits, colour = struct.unpack_from(">IIBB", data, 16)
    orientation, position, alpha = 1, 8, int(colour in (4, 6))
    while (name := data[position + 4 : position + 8]) != b"IEND":
        length = struct.unpack_from(">I", data, position)[0]
        if name == b"acTL":
            raise ValueError("is an animation")
        if name == b"eXIf":
            orientation = read_orientation(data[position + 8 : position + 8 + length])
        if name == b"tRNS" and colour == 3:
            alpha = 1
        position += 12 + length
    return Header(height, width, 1 if colour in (0, 4) else 3, max(bits, 8), orientation, alpha)


def read_tiff_header(data: bytes) -> Header:
    """Refuse every TIFF but one page of grey or RGB in strips."""
    tags = Directory(data)
    width, height, samples, bits, kind = (tags.values(n)[0] for n in (256, 257, 277, 258, 262))
    is_plain = all({*tags.values(tag)} <= allowed for tag, allowed in PLAIN_TIFF.items())
    # libtiff hides damage of LZW with 8 bits; with 16 bits it is an error.
    is_plain = is_plain and (tags.values(259)[0] != 5 or bits == 16)
    if not is_plain or kind != (1 if samples == 1 else 2) or tags.following:
        raise ValueError("is a TIFF that OpenCV does not read reliably; save it as PNG or .npy")
    return Header(height, width, samples, bits)


def check_tiff_strips(data: bytes, expected: int) -> None:
    """Check that the strips hold `expected` bytes: libtiff fills what is missing or damaged."""
    tags, total = Directory(data), 0
    compression = tags.values(259)[0]
    for offset, size in zip(tags.values(273), tags.values(279), strict=True):
        if offset + size > len(data):
            raise ValueError(TRUNCATED)
        if compression in (8, 32946):
            unpack = zlib.decompressobj()
            size = len(unpack.decompress(data[offset : offset + size], expected + 1 - total))
            if not unpack.eof:
                raise ValueError("a damaged TIFF image; copy or download it again")
        total += size
    if total < expected and compression != 5:
        raise ValueError(TRUNCATED)


def read_header(data: bytes) -> Header:
    """Header of a complete file; the format follows from its first bytes."""
    if data[:3] == b"\xff\xd8\xff":
        return read_jpeg_header(data)
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return read_png_header(data)
    if data[:4] in (b"II*\0", b"MM\0*"):
        return read_tiff_header(data)
    raise ValueError(
        "not a JPEG, PNG, TIFF or .npy file; save it as PNG" if data else "an empty file"
    )


def read_npy(data: bytes, max_pixels: float) -> Any:
    """Array of a .npy file, version 1; objects, which would be unpickled, have no such type."""
    file = BytesIO(data)
    np.lib.format.read_magic(file)
    shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(file)
    if is_fortran or dtype not in (np.uint8, np.uint16) or len(shape) != 3 or 0 in shape:
        raise ValueError("must be an array (height, width, channels) of uint8 or uint16")
    if shape[0] * shape[1] > max_pixels:
        raise ValueError(f"{shape[1]}x{shape[0]} is more than {max_pixels:,.0f} pixels{_CUT}")
    return np.frombuffer(data, dtype, offset=file.tell()).reshape(shape)


def decode(data: bytes, channels: int, max_pixels: float) -> Any:
    """Array (H, W, C) of a JPEG, PNG or TIFF, RGB, upright; alpha only if `channels` counts it."""
    height, width, samples, bits, orientation, alpha = read_header(data)
    n_bytes = height * width * (samples + alpha) * bits // 8
    if height * width > max_pixels or n_bytes > 4 * max_pixels:
        raise ValueError(f"{width}x{height} is more than {max_pixels:,.0f} pixels{_CUT}")
    if len(data) > 16 * height * width + 16_000_000:
        raise ValueError(f"{len(data):,} bytes; too large for an image of {width}x{height}")
    if data[:2] in (b"II", b"MM"):
        check_tiff_strips(data, n_bytes)
    flags = cv2.IMREAD_GRAYSCALE if samples == 1 else cv2.IMREAD_COLOR
    flags = cv2.IMREAD_UNCHANGED if alpha and channels == samples + 1 else flags
    flags |= cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
    image: Any = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if image is None or image.shape[:2] != (height, width):
        raise ValueError("a damaged image; copy or download it again")
    image = image.reshape(height, width, -1)
    # OpenCV has blue first, and gives grey with alpha as four channels.
    order = [0, 3] if image.shape[2] == 4 and samples == 1 else [2, 1, 0, 3][: image.shape[2]]
    image = image if image.shape[2] == 1 else image[..., order]
    image = image.swapaxes(0, 1) if orientation > 4 else image
    image = image[:, ::-1] if orientation in (2, 3, 6, 7) else image
    return image[::-1] if orientation in (3, 4, 7, 8) else image


def read_image(source: Any, spec: dict[str, Any]) -> Any:
    """Array (H, W, C), uint8 or uint16 as the network's images, from a path or a file's bytes.

    Raises ValueError with one sentence, before anything large is read or decoded.
    """
    limit, channels, bits = (spec["input"][key] for key in ("max_pixels", "channels", "bits"))
    if not isinstance(source, bytes):
        path = Path(source)
        if not path.is_file() or path.stat().st_size > 4 * limit + 16_000_000:
            raise ValueError("too large for an image" if path.is_file() else "no such file")
        source = path.read_bytes()
    try:
        image = (
            read_npy(source, limit)
            if source[:6] == b"\x93NUMPY"
            else decode(source, channels, limit)
        )
    except (struct.error, zlib.error, cv2.error):
        raise ValueError(TRUNCATED) from None
    image = np.repeat(image, 3, axis=2) if image.shape[2] == 1 and channels == 3 else image
    n, depth = image.shape[2], 8 * image.dtype.itemsize
    if n != channels or depth > bits:
        raise ValueError(f"{n} channels of {depth} bits; the network takes {channels} of {bits}")
    return np.ascontiguousarray(image, np.uint16 if bits == 16 else np.uint8)


def fit_image(image: Any, size: tuple[int, int], fit: str | float) -> tuple[Any, int, int]:
    """Image (H, W, C) resized to `size`, float32, and the height and width of its content.

    `pad` keeps the aspect ratio and leaves the bottom or the right 0; `stretch` does not; a number
    is the factor of the resizing, with padding.
    """
    (height, width, channels), (rows, columns) = image.shape, size
    if fit != "stretch":
        scale = min(rows / height, columns / width) if isinstance(fit, str) else fit
        rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
    mode = cv2.INTER_AREA if rows * columns < height * width else cv2.INTER_LINEAR
    fitted = np.zeros((*size, channels), np.float32)
    for k in range(0, channels, 4):  # OpenCV resizes four channels at most
        part = np.ascontiguousarray(image[..., k : k + 4])
        if (rows, columns) != (height, width):
            part = cv2.resize(part, (columns, rows), interpolation=mode)
        fitted[:rows, :columns, k : k + 4] = part.reshape(rows, columns, -1)
    return fitted, rows, columns


def image_logits(image: Any, spec: dict[str, Any], network: Any) -> Any:
    """Logits (K, H, W) at the size of an image: of the whole image, or averaged over windows.

    `network` maps what `fit_image` returns to the logits of the content. Logits are resized, then
    turned into probabilities, as where the study was evaluated.
    """
    size, tile = (int(spec["height"]), int(spec["width"])), spec.get("tile")
    if tile is None:
        return resize_planes(network(*fit_image(image, size, spec["fit"])), image.shape[:2])
    sides = [min(tile["side"], length) for length in image.shape[:2]]
    axes = [axis_windows(length, tile["side"], tile["overlap"]) for length in image.shape[:2]]
    total: Any = None
    for top, by_row in axes[0]:
        for left, by_column in axes[1]:
            region = slice(top, top + sides[0]), slice(left, left + sides[1])
            fitted = fit_image(image[region], size, size[0] / tile["side"])
            x = resize_planes(network(*fitted), (sides[0], sides[1]))
            total = np.zeros((len(x), *image.shape[:2]), np.float32) if total is None else total
            total[:, region[0], region[1]] += x * (by_row[:, None] * by_column)
    return total


def axis_windows(length: int, side: int, overlap: float) -> list[tuple[int, Any]]:
    """First pixel of each window along an axis, and weights of its pixels: a Gaussian, share."""
    step, extent = max(1, int(side * (1 - overlap))), min(side, length)
    count = max(0, -(-(length - side) // step)) + 1
    starts = [min(k * step, max(0, length - side)) for k in range(count)]
    bell = np.exp(-0.5 * ((np.arange(extent) - (extent - 1) / 2) / (extent / 8)) ** 2)
    totals = np.zeros(length)
    for start in starts:
        totals[start : start + extent] += bell
    return [(s, (bell / totals[s : s + extent]).astype(np.float32)) for s in starts]


def resize_planes(planes: Any, size: tuple[int, int]) -> Any:
    """Planes (K, h, w) resized bilinearly to `size`."""
    return np.stack([cv2.resize(np.ascontiguousarray(k), size[::-1]) for k in planes])


def is_mask(path: Path) -> bool:
    """True for a mask such as x_mask.png, x-label.png or x_gt.png beside an image x."""
    match = re.fullmatch(r"(.+)[_-](mask|label|gt|seg|segmentation)", path.stem, re.IGNORECASE)
    if match is None:
        return False
    names = [match[1] + suffix for k in SUFFIXES for suffix in (k, k.upper())]
    return any((path.parent / name).exists() for name in names)


def list_files(root: Path) -> list[Path]:
    """The file itself; of a folder all images below it (by suffix) but hidden ones and masks."""
    if not root.is_dir():
        return [root]
    images = (path for path in root.rglob("[!.]*") if path.suffix.lower() in LISTED)
    return sorted(path for path in images if not is_mask(path))


def write_mask(path: Path, mask: Any, spec: dict[str, Any]) -> None:
    """Write `path` with the suffix .png: 0 and 255, or indices of classes, or a file per label."""
    path.parent.mkdir(parents=True, exist_ok=True)
    planes = [mask] if mask.ndim == 2 else [mask[..., k] for k in range(mask.shape[2])]
    suffixes = [""] if mask.ndim == 2 else [f"-{entry['name']}" for entry in spec["classes"]]
    for plane, suffix in zip(planes, suffixes, strict=True):
        data = cv2.imencode(".png", plane if spec["task"] == "multiclass" else 255 * plane)[1]
        path.with_name(f"{path.stem}{suffix}.png").write_bytes(data.tobytes())
