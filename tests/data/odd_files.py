"""Bad and odd files of every sort, each with what must come of reading it."""

import io
import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
from PIL import Image

from harness.config.data import StudyDataConfig
from harness.core.errors import DataError
from harness.data.files.image_io import read_image, read_mask, read_pair
from harness.data.files.source import FolderSource
from tests.data.make import Array8, encode, exif, picture, square

MAX_PIXELS = 100e6
DEEP = (0.0, 65535.0)
RGB, GREY = picture(1), np.ascontiguousarray(picture(1)[..., 0])
MASK = square()
TOO_EARLY = "too early|damaged|an empty file|not a JPEG"
TOO_LARGE = "is more than 100,000,000 pixels"
INDEX = np.arange(24 * 32, dtype=np.uint8).reshape(24, 32) % 5
FIVE = StudyDataConfig(task="multiclass", classes=("a", "b", "c", "d", "e"))
THREE = StudyDataConfig(task="multiclass", classes=("a", "b", "c"))


@dataclass(frozen=True)
class Case:
    """A file, how it is read, and the shape and type that come of it, or words of the error."""

    name: str
    data: bytes | Callable[[Path], None]
    expected: tuple[tuple[int, ...], type] | str
    mask_for: StudyDataConfig | None = None
    options: dict[str, Any] = field(default_factory=dict)

    def read(self, folder: Path) -> np.ndarray:
        path = folder / self.name
        path.parent.mkdir(parents=True, exist_ok=True)
        if callable(self.data):
            self.data(path)
        else:
            path.write_bytes(self.data)
        if self.mask_for is not None:
            return read_mask(FolderSource(path.parent), [path], self.mask_for, MAX_PIXELS)
        return read_image(path, MAX_PIXELS, **self.options)


def pil(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def tiff(samples: np.ndarray, **options: Any) -> bytes:
    out = io.BytesIO()
    tifffile.imwrite(out, samples, **{"metadata": None, **options})
    return out.getvalue()


def palette_png(indices: Array8, colours: list[int], bits: int = 8) -> bytes:
    image = Image.fromarray(indices).convert("L")
    image.putpalette(colours + [0] * (768 - len(colours)))
    return pil(image, "PNG", bits=bits)


def png_of(width: int, height: int, sort: int = 2, bits: int = 8, body: bytes = bytes(40)) -> bytes:
    """A PNG of a few bytes that claims a size."""

    def chunk(name: bytes, content: bytes) -> bytes:
        end = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + end

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, sort, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(body))
    return b"\x89PNG\r\n\x1a\n" + header + data + chunk(b"IEND", b"")


def tiff_of(tags: dict[int, int], *, count: int | None = None, big: bool = False) -> bytes:
    """A TIFF of one directory of whole numbers and 64 bytes of data at position 8 or 16."""
    at = 80
    if big:
        start = b"II+\0" + struct.pack("<HHQ", 8, 0, at)
        entries = b"".join(struct.pack("<HHQQ", t, 16, 1, v) for t, v in sorted(tags.items()))
        return start + bytes(64) + struct.pack("<Q", count or len(tags)) + entries + bytes(8)
    start = b"II*\0" + struct.pack("<I", at) + bytes(72)
    entries = b"".join(struct.pack("<HHII", t, 4, 1, v) for t, v in sorted(tags.items()))
    return start + struct.pack("<H", count or len(tags)) + entries + bytes(4)


def tags(**changed: int) -> dict[int, int]:
    names = {
        "width": 256, "height": 257, "bits": 258, "compression": 259, "photometric": 262,
        "start": 273, "samples": 277, "rows": 278, "size": 279, "tile_width": 322,
        "tile_height": 323, "tile": 324, "tile_size": 325,
    }  # fmt: skip
    usual = {
        "width": 8, "height": 8, "bits": 8, "compression": 1, "photometric": 1,
        "start": 8, "samples": 1, "rows": 8, "size": 64,
    }  # fmt: skip
    return {names[name]: value for name, value in {**usual, **changed}.items()}


def with_bytes(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


def jpeg_of(width: int, height: int) -> bytes:
    data = encode(".jpg", RGB)
    at = data.index(b"\xff\xc0")
    return with_bytes(data, at + 5, struct.pack(">HH", height, width))


def many_scans() -> bytes:
    data = encode(".jpg", RGB)
    at = data.index(b"\xff\xda")
    length = struct.unpack(">H", data[at + 2 : at + 4])[0]
    return data[:at] + data[at : at + 2 + length] * 1000 + data[at + 2 + length :]


def webp_of(side: int) -> bytes:
    data = pil(Image.fromarray(RGB), "WEBP", lossless=True)
    return with_bytes(data, 21, struct.pack("<I", (side - 1) | (side - 1) << 14))


def link_to(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)


def animation(kind: str) -> bytes:
    frames = [Image.fromarray(picture(index)) for index in range(3)]
    return pil(frames[0], kind, save_all=True, append_images=frames[1:])


def binary(**changed: Any) -> StudyDataConfig:
    return StudyDataConfig(**changed)


def jpeg_mask(mask: Array8, quality: int = 75) -> bytes:
    return encode(".jpg", mask, cv2.IMWRITE_JPEG_QUALITY, quality)


def big(mask: Array8) -> Array8:
    """Every pixel 8x8, as a JPEG has its blocks."""
    return mask.repeat(8, axis=0).repeat(8, axis=1)


def images() -> list[Case]:
    deep, rgba = RGB.astype(np.uint16) * 257, np.dstack([RGB, GREY])
    five, eight = (np.dstack([RGB, RGB, RGB])[..., :n] for n in (5, 8))
    grey_alpha = pil(Image.fromarray(np.dstack([GREY, GREY]), "LA"), "PNG")
    full, one = ((24, 32, 3), np.uint8), ((24, 32, 1), np.uint8)
    cmyk = pil(Image.fromarray(rgba, "CMYK"), "JPEG")
    quantised = pil(Image.fromarray(RGB).quantize(16), "PNG")
    kinds = [".jpg", ".png", ".bmp", ".tif", ".webp"]
    return [
        *(Case(f"good{kind}", encode(kind, RGB), full) for kind in kinds),
        *(Case(f"good{kind}.png", encode(kind, RGB), full) for kind in kinds),
        *(
            Case(f"cut-{share}{kind}", encode(kind, RGB)[: int(share * len(encode(kind, RGB)))],
                 TOO_EARLY)
            for kind in kinds
            for share in (0.02, 0.3, 0.7, 0.98)
        ),
        Case("zero.png", b"", "an empty file"),
        Case("text.png", b"these are notes\n", "not a JPEG"),
        Case("page.jpg", b"<!DOCTYPE html><html>404</html>", "not a JPEG"),
        Case("moving.gif.png", pil(Image.fromarray(GREY), "GIF"), "not a JPEG"),
        Case("random.jpg", b"\xff\xd8\xff" + bytes(range(256)) * 4, TOO_EARLY),
        Case("folder.jpg", Path.mkdir, "no such file"),
        Case("pipe.jpg", os.mkfifo, "no such file"),
        Case("nothing.jpg", lambda path: None, "no such file"),
        Case("dangling.jpg", link_to("absent.jpg"), "no such file"),
        Case("device.jpg", link_to("/dev/zero"), "no such file"),
        Case("with space.png", encode(".png", RGB), full),
        Case("Ärzte-é.png", encode(".png", RGB), full),
        Case("\N{MICROSCOPE}.png", encode(".png", RGB), full),
        Case("grey.png", encode(".png", GREY), full),
        Case("grey-as-one.png", encode(".png", GREY), one, options={"channels": 1}),
        Case("grey-as-one.jpg", encode(".jpg", GREY), one, options={"channels": 1}),
        Case("grey-as-one.bmp", encode(".bmp", GREY), one, options={"channels": 1}),
        Case("rgb-as-one.png", encode(".png", RGB), "colours, but data.channels is 1",
             options={"channels": 1}),
        Case("rgb-as-four.png", encode(".png", RGB), "3 samples a pixel, but data.channels is 4",
             options={"channels": 4}),
        Case("rgba.png", encode(".png", rgba), full),
        Case("rgba.webp", pil(Image.fromarray(rgba), "WEBP", lossless=True), full),
        Case("rgba-as-four.png", encode(".png", rgba), ((24, 32, 4), np.uint8),
             options={"channels": 4}),
        Case("rgba-as-four.tif", tiff(rgba, photometric="rgb"), ((24, 32, 4), np.uint8),
             options={"channels": 4}),
        Case("rgba.tif", tiff(rgba, photometric="rgb", extrasamples=["unassalpha"]), full),
        Case("infrared.tif", tiff(rgba, photometric="rgb", extrasamples=["unspecified"]),
             "4 samples a pixel, but data.channels is 3"),
        Case("grey-alpha.png", grey_alpha, full),
        Case("grey-alpha-as-two.png", grey_alpha, ((24, 32, 2), np.uint8),
             options={"channels": 2}),
        Case("palette.png", quantised, full),
        Case("palette.bmp", pil(Image.fromarray(RGB).quantize(16), "BMP"), full),
        Case("palette.tif", pil(Image.fromarray(RGB).quantize(16), "TIFF"), full),
        Case("bilevel.png", pil(Image.fromarray(MASK > 0), "PNG"), full),
        Case("bilevel.tif", pil(Image.fromarray(MASK > 0), "TIFF"), full),
        Case("cmyk.jpg", cmyk, full),
        Case("cmyk-as-four.jpg", cmyk, "3 samples a pixel, but data.channels is 4",
             options={"channels": 4}),
        Case("cmyk.tif", tiff(rgba, photometric="separated"), "the colours of CMYK"),
        Case("deep.png", encode(".png", deep), "set data.range, e.g. \\[0, 65535\\]"),
        Case("deep.tif", tiff(deep), "set data.range, e.g. \\[0, 65535\\]"),
        Case("deep-in-range.png", encode(".png", deep), ((24, 32, 3), np.uint16),
             options={"value_range": DEEP}),
        Case("deep-in-range.tif", tiff(deep), ((24, 32, 3), np.uint16),
             options={"value_range": DEEP}),
        Case("deep-grey.png", encode(".png", deep[..., 0]), ((24, 32, 1), np.uint16),
             options={"value_range": DEEP, "channels": 1}),
        Case("shallow-in-range.jpg", encode(".jpg", RGB), ((24, 32, 3), np.uint16),
             options={"value_range": DEEP}),
        Case("four-greys.tif", tiff(rgba, photometric="minisblack", planarconfig="contig"),
             "4 samples a pixel, but data.channels is 3"),
        Case("five.tif", tiff(five, photometric="minisblack", planarconfig="contig"),
             ((24, 32, 5), np.uint8), options={"channels": 5}),
        Case("five-as-three.tif", tiff(five, photometric="minisblack", planarconfig="contig"),
             "5 samples a pixel, but data.channels is 3"),
        Case("eight-planar.tif", tiff(np.moveaxis(eight, 2, 0), photometric="minisblack",
             planarconfig="separate"), ((24, 32, 8), np.uint8), options={"channels": 8}),
        Case("tiled.tif", tiff(RGB, photometric="rgb", tile=(16, 16)), full),
        *(
            Case(f"{how}.tif", tiff(RGB, photometric="rgb", compression=how, predictor=True), full)
            for how in ("lzw", "zlib", "zstd")
        ),
        Case("packbits.tif", tiff(RGB, photometric="rgb", compression="packbits"), full),
        Case("jpeg-inside.tif", tiff(RGB, photometric="rgb", compression="jpeg"), full),
        Case("big.tif", tiff(RGB, photometric="rgb", bigtiff=True), full),
        Case("big-endian.tif", tiff(deep, photometric="rgb", byteorder=">"),
             ((24, 32, 3), np.uint16), options={"value_range": DEEP}),
        Case("float.tif", tiff(GREY.astype(np.float32)), "floating-point samples"),
        Case("nan.tif", tiff(np.full((8, 8), np.nan, np.float32)), "floating-point samples"),
        Case("signed.tif", tiff(GREY.astype(np.int16)), "signed samples"),
        Case("words.tif", tiff(GREY.astype(np.uint32)), "32 bits a sample"),
        Case("pages.tif", tiff(np.stack([RGB] * 3), photometric="rgb"), "several pages"),
        Case("animated.png", animation("PNG"), "is an animation"),
        Case("animated.webp", animation("WEBP"), "is an animation"),
        Case("turned.jpg", encode(".jpg", RGB)[:2] + exif(6) + encode(".jpg", RGB)[2:],
             ((32, 24, 3), np.uint8)),
    ]  # fmt: skip


def bombs() -> list[Case]:
    bmp = encode(".bmp", RGB)
    deflated = tiff(np.zeros((8, 8), np.uint8), compression="zlib")
    at = deflated.index(zlib.compress(bytes(64), 6)[:2])
    inflating = zlib.compress(bytes(300_000_000), 9)
    tile = {"start": 8, "size": 64, "tile": 8, "tile_size": 64}
    return [
        Case("bomb.png", png_of(50_000, 40_000), TOO_LARGE),
        Case("bomb-most.png", png_of(2**31 - 1, 2**31 - 1), TOO_LARGE),
        Case("bomb-deep.png", png_of(10_000, 10_000, 6, 16), "10000x10000 of 8 bytes is more than"),
        Case("bomb-inside.png", png_of(16, 16, body=bytes(200_000_000)), ((16, 16, 3), np.uint8)),
        Case("bomb.jpg", jpeg_of(65_000, 65_000), TOO_LARGE),
        Case("scans.jpg", many_scans(), "1,000 scans"),
        Case("bomb.webp", webp_of(16_000), TOO_LARGE),
        Case("bomb.bmp", with_bytes(bmp, 18, struct.pack("<ii", 90_000, 90_000)), TOO_EARLY),
        Case("bomb-rle.bmp", with_bytes(
            with_bytes(bmp, 18, struct.pack("<ii", 90_000, 90_000)), 28,
            struct.pack("<HI", 8, 1)), TOO_LARGE),
        Case("plain.tif", tiff_of(tags()), ((8, 8, 3), np.uint8)),
        Case("plain-big.tif", tiff_of(tags(), big=True), ((8, 8, 3), np.uint8)),
        Case("bomb.tif", tiff_of(tags(width=2**31, height=2**31, compression=8)),
             "268,435,456 strips"),
        Case("bomb-one-strip.tif",
             tiff_of(tags(width=2**20, height=2**20, rows=2**20, compression=8)), TOO_LARGE),
        Case("tags.tif", tiff_of(tags(), count=65_535), "65,535 tags"),
        Case("tags-big.tif", tiff_of(tags(), count=2**62, big=True), "tags"),
        Case("samples.tif", tiff_of(tags(samples=60_000)), "60000 samples a pixel"),
        Case("tile.tif", tiff_of(tags(tile_width=2**20, tile_height=2**20, compression=8, **tile)),
             "tiles of 1048576x1048576"),
        Case("tile-zero.tif", tiff_of(tags(tile_width=0, tile_height=0, **tile)), "tiles of 0x0"),
        Case("strip-beyond.tif", tiff_of(tags(start=2**31)), TOO_EARLY),
        Case("strip-long.tif", tiff_of(tags(size=2**31)), TOO_EARLY),
        Case("strip-short.tif", tiff_of(tags(size=8)), TOO_EARLY),
        Case("strip-none.tif", tiff_of({k: v for k, v in tags().items() if k not in (273, 279)}),
             "has no offsets of its samples"),
        Case("no-size.tif", tiff_of(tags(width=0)), "the size 0x8"),
        Case("loop.tif", tiff_of(tags())[:-4] + struct.pack("<I", 80), "several pages"),
        Case("inflating.tif", _with_strip(inflating), "damaged TIFF"),
        Case("deflated-damaged.tif", with_bytes(deflated, at, bytes(6)), "damaged TIFF"),
        Case("hole.png", _hole, "1,000,000,000,000 bytes; too large"),
    ]  # fmt: skip


def _hole(path: Path) -> None:
    path.touch()
    os.truncate(path, 10**12)


def _with_strip(strip: bytes) -> bytes:
    """A TIFF of 8x8 pixels whose only deflated strip unpacks to something else."""
    data = tiff_of(tags(compression=8, start=0, size=len(strip)))
    return with_bytes(data, data.index(struct.pack("<HHII", 273, 4, 1, 0)) + 8,
                      struct.pack("<I", len(data))) + strip  # fmt: skip


def masks() -> list[Case]:
    flat, stack = ((24, 32), np.uint8), ((192, 256), np.uint8)
    grey = np.where(big(MASK) > 0, 150, 0).astype(np.uint8)
    voc = [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0, 0, 0, 128]
    red = np.dstack([255 * MASK, 0 * MASK, 0 * MASK])
    colours = binary(values={"#000000": "background", "#ff0000": "foreground"})
    trimap = np.where(cv2.dilate(MASK, np.ones((7, 7), np.uint8)) > MASK, 128, 255 * MASK)
    three = np.where(np.arange(256)[None] + 0 * big(MASK) > 128, 128, 255 * big(MASK))
    return [
        Case("0-1.png", encode(".png", MASK), flat, binary()),
        Case("0-255.png", encode(".png", 255 * MASK), flat, binary()),
        Case("0-255.tif", tiff(255 * MASK), flat, binary()),
        Case("0-255.jpg", jpeg_mask(255 * MASK), flat, binary()),
        Case("0-255-rgb.png", encode(".png", np.dstack([255 * MASK] * 3)), flat, binary()),
        Case("0-255-rgba.png", encode(".png", np.dstack([255 * MASK] * 3 + [0 * MASK + 255])),
             flat, binary()),
        Case("in-alpha.png", encode(".png", np.dstack([0 * MASK] * 3 + [255 * MASK])),
             "has one colour only, but its alpha channel varies", binary()),
        Case("in-alpha.tif", tiff(np.dstack([0 * MASK] * 3 + [255 * MASK]), photometric="rgb"),
             "has one colour only, but its alpha channel varies", binary()),
        Case("empty-opaque.png", encode(".png", np.dstack([0 * MASK] * 3 + [0 * MASK + 255])),
             flat, binary()),
        Case("bilevel-mask.png", pil(Image.fromarray(MASK > 0), "PNG"), flat, binary()),
        Case("bilevel-mask.tif", pil(Image.fromarray(MASK > 0), "TIFF"), flat, binary()),
        Case("white-is-zero.tif", tiff(255 - 255 * MASK, photometric="miniswhite"), flat, binary()),
        Case("palette-0-1.png", palette_png(MASK, voc), flat, binary()),
        Case("palette-bw.png", palette_png(MASK, [0, 0, 0, 255, 255, 255], 1), flat, binary()),
        Case("index.png", encode(".png", INDEX),
             "0, 1, 2, 3, 4 are not two-valued; say what they mean in study.yaml", binary()),
        Case("grey-150.png", encode(".png", grey),
             "e.g. data.values: {'0': background, '150': foreground}$", binary()),
        Case("grey-150.jpg", jpeg_mask(grey), "are not two-valued", binary()),
        Case("trimap.png", encode(".png", trimap.astype(np.uint8)), "0, 128, 255 are not",
             binary()),
        Case("voc-void.png", encode(".png", np.where(trimap == 128, 255, MASK).astype(np.uint8)),
             "0, 1, 255 are not", binary()),
        Case("trimap-ignored.png", encode(".png", trimap.astype(np.uint8)), flat,
             binary(ignore_index=128)),
        Case("three.jpg", jpeg_mask(three.astype(np.uint8)), stack, binary(ignore_index=128)),
        Case("red.png", encode(".png", red), "{'#000000': background, '#ff0000': foreground}$",
             binary()),
        Case("red-declared.png", encode(".png", red), flat, colours),
        Case("red-declared.jpg", jpeg_mask(big(red)), stack, colours),
        Case("blue-declared.jpg", jpeg_mask(big(red)[..., ::-1]), "are not in data.values",
             colours),
        Case("deep-0-1.png", encode(".png", MASK.astype(np.uint16)), flat, binary()),
        Case("deep-0-65535.png", encode(".png", MASK.astype(np.uint16) * 65535),
             "e.g. data.values: {'0': background, '65535': foreground}$", binary()),
        Case("float-mask.tif", tiff(MASK.astype(np.float32)), "floating-point samples", binary()),
        Case("five-mask.tif", tiff(np.dstack([MASK] * 5), photometric="minisblack",
             planarconfig="contig"), "5 samples a pixel; a mask has one", binary()),
        Case("classes.png", encode(".png", INDEX), flat, FIVE),
        Case("classes.jpg", jpeg_mask(INDEX), "a lossy file cannot hold class indices", FIVE),
        Case("classes-deep.png", encode(".png", INDEX.astype(np.uint16)), flat, FIVE),
        Case("classes-palette.png", palette_png(INDEX, voc), flat, FIVE),
        Case("classes-palette-4.png", palette_png(INDEX, voc, 4), flat, FIVE),
        Case("classes-palette.bmp", pil(Image.open(io.BytesIO(palette_png(INDEX, voc))), "BMP"),
             flat, FIVE),
        Case("classes-palette.tif", pil(Image.open(io.BytesIO(palette_png(INDEX, voc))), "TIFF"),
             flat, FIVE),
        Case("classes-too-many.png", encode(".png", INDEX), "values 3, 4 are no class \\(0 to 2\\)",
             THREE),
        Case("classes-colour.png", encode(".png", red), "are colours; say what they mean", THREE),
        Case("palette-short.png", palette_png(INDEX, voc).replace(
             *_shorter_palette(palette_png(INDEX, voc))), "3 colours, but index 4|damaged", FIVE),
    ]  # fmt: skip


def _shorter_palette(data: bytes) -> tuple[bytes, bytes]:
    """The palette chunk of a PNG, and one of its first three colours."""
    at = data.index(b"PLTE")
    length = struct.unpack(">I", data[at - 4 : at])[0]
    kept = b"PLTE" + data[at + 4 : at + 13]
    whole = data[at - 4 : at + 8 + length]
    return whole, struct.pack(">I", 9) + kept + struct.pack(">I", zlib.crc32(kept))


def all_cases() -> list[Case]:
    return [*images(), *bombs(), *masks()]


def pairs() -> list[tuple[str, bytes, bytes, str]]:
    """Pairs of an image and a mask that do not belong together, and words of the error."""
    turned = encode(".jpg", RGB)[:2] + exif(6) + encode(".jpg", RGB)[2:]
    mask = encode(".png", 255 * MASK)
    return [
        ("sizes", encode(".png", RGB), encode(".png", square(25, 32)), "must have one size"),
        ("turned", turned, encode(".png", square(32, 24)), "rotated by its EXIF orientation"),
        ("mask turned", encode(".jpg", RGB), jpeg_mask(255 * MASK)[:2] + exif(3)
         + jpeg_mask(255 * MASK)[2:], "EXIF orientation 3"),
        ("damaged mask", encode(".png", RGB), mask[:60], TOO_EARLY),
    ]  # fmt: skip


def outcome(read: Callable[[], np.ndarray]) -> tuple[tuple[int, ...], type] | str:
    try:
        result = read()
    except DataError as error:
        return str(error)
    return result.shape, result.dtype.type


def read_odd_pair(folder: Path, image: bytes, mask: bytes) -> np.ndarray:
    (folder / "a.jpg").write_bytes(image)
    (folder / "m.jpg").write_bytes(mask)
    return read_pair(
        FolderSource(folder), folder / "a.jpg", [folder / "m.jpg"], StudyDataConfig(), MAX_PIXELS
    ).mask
