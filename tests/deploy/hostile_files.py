"""Hostile and odd files for whatever takes one image: the command, the runner, the app.

They suit a study of three channels with 8 bits. Each is either refused in one sentence or gives a
mask of its image's size; nothing else may come of it, and no more than a gigabyte of memory.
"""

import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from tests.data.make import encode, picture
from tests.data.odd_files import bombs, images, pil

SIZE = (24, 32)
_HUGE_BYTES = 400_000_000


@dataclass(frozen=True)
class HostileFile:
    """A file and what must come of it.

    Attributes:
        name: its name, relative to the folder that it is written to.
        data: its bytes, or a function that creates it under a path: a link, a pipe, a folder, or
            a file too large to be held.
        expected: words (a regular expression) of the sentence of `harness`; or height and width of
            the mask.
    """

    name: str
    data: bytes | Callable[[Path], None]
    expected: str | tuple[int, int]

    @property
    def is_refused(self) -> bool:
        """True if the file must be refused in one sentence."""
        return isinstance(self.expected, str)

    @property
    def upload(self) -> bytes | None:
        """The bytes that a browser would send; None: the file makes sense on a disk only."""
        return None if callable(self.data) else self.data

    def write(self, folder: Path) -> Path:
        """Create the file below a folder."""
        path = folder / self.name
        path.parent.mkdir(parents=True, exist_ok=True)
        if callable(self.data):
            self.data(path)
        else:
            path.write_bytes(self.data)
        return path


def hostile_files() -> list[HostileFile]:
    """Every file, names all different."""
    odd = [
        HostileFile(case.name, case.data, _expected(case.expected))
        for case in [*images(), *bombs()]
        if not case.options
    ]
    return [*odd, *_other_formats(), *_odd_sizes(), *_odd_names()]


def uploads() -> list[HostileFile]:
    """Those that a browser can send."""
    return [file for file in hostile_files() if file.upload is not None]


def _expected(of_case: tuple[tuple[int, ...], type] | str) -> str | tuple[int, int]:
    if isinstance(of_case, str):
        return of_case
    height, width = of_case[0][:2]
    return height, width


def _other_formats() -> list[HostileFile]:
    no_image = "not a JPEG, PNG, BMP, TIFF or WebP image"
    svg = (
        b'<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
        b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><text>&a;</text>'
        b"<script>alert(1)</script></svg>"
    )
    page = b"<html><img src=x onerror=alert(1)>" + bytes(200)
    polyglot = encode(".jpg", picture(1)) + b"<script>alert(1)</script>"
    shell = b"#!/bin/sh\ntouch /tmp/owned\n"
    return [
        HostileFile("drawing.svg.png", svg, no_image),
        HostileFile("script.html.png", page, no_image),
        HostileFile("still.gif.png", pil(Image.fromarray(picture(2)), "GIF"), no_image),
        HostileFile("archive.png", b"PK\3\4" + bytes(500), no_image),
        HostileFile("pickle.png", b"\x80\4\x95\n\0\0\0\0\0\0\0\x8c\2os\x94.", no_image),
        HostileFile("program.png", b"\x7fELF" + bytes(500), no_image),
        HostileFile("shell.png", shell, no_image),
        HostileFile("document.png", b"%PDF-1.7\n" + bytes(500), no_image),
        HostileFile("zeros.png", bytes(5000), no_image),
        HostileFile("polyglot.jpg", polyglot, SIZE),
        HostileFile("start-only.png", b"\x89PNG\r\n\x1a\n", "too early|damaged"),
        HostileFile("start-only.tif", b"II*\0", "too early|damaged"),
        HostileFile("start-only.webp", b"RIFF\4\0\0\0WEBP", "damaged WebP|too early"),
        HostileFile("huge.png", _huge(b"no image " * 2), no_image),
        HostileFile("huge-jpeg.jpg", _huge(b"\xff\xd8\xff\xe0\0\x10JFIF\0\1"), "too early"),
        *(
            HostileFile(f"huge{kind}", _huge(encode(kind, picture(1))), "too large for an image")
            for kind in (".jpg", ".bmp", ".tif", ".webp")
        ),
        HostileFile("huge-whole.png", _huge(encode(".png", picture(1))), "too large for an image"),
    ]


def _huge(start: bytes) -> Callable[[Path], None]:
    """A sparse file of 400 MB with these first bytes."""

    def create(path: Path) -> None:
        path.write_bytes(start)
        os.truncate(path, _HUGE_BYTES)

    return create


def _odd_sizes() -> list[HostileFile]:
    row = np.resize(picture(3), (1, 10_000, 3))
    pixel = np.full((1, 1, 3), 200, np.uint8)
    side = struct.pack(">II", 0, 0)
    empty = encode(".png", picture(1))
    return [
        HostileFile("row.png", encode(".png", row), (1, 10_000)),
        HostileFile("row.jpg", encode(".jpg", row), (1, 10_000)),
        HostileFile("column.png", encode(".png", row.swapaxes(0, 1)), (10_000, 1)),
        HostileFile("pixel.png", encode(".png", pixel), (1, 1)),
        HostileFile("pixel.jpg", encode(".jpg", pixel), (1, 1)),
        HostileFile("black.png", encode(".png", np.zeros((24, 32, 3), np.uint8)), SIZE),
        HostileFile("white.png", encode(".png", np.full((24, 32, 3), 255, np.uint8)), SIZE),
        HostileFile("no-size.png", empty[:16] + side + empty[24:], "the size 0x0|damaged"),
    ]


def _odd_names() -> list[HostileFile]:
    good = encode(".png", picture(1))
    names = [
        "=cmd|' /C calc'!A0.png", "+1.png", "-rf.png", "@SUM(1).png", "--help.png", "a;b.png",
        "a,b\"c'd.png", "$(touch owned).png", "<script>alert(1)<_script>.png",
        "%2e%2e%2fetc.png", "..png", "CON.png", "a\\..\\b.png", "two.dots.png", "x" * 200 + ".png",
        "\N{RIGHT-TO-LEFT OVERRIDE}gnp.exe.png", "[red]bold[_red].png",
        "tab\tname.png", "line\nbreak.png", "deep/er/and/deeper.png",
    ]  # fmt: skip
    return [HostileFile(name, good, SIZE) for name in names]
