"""`test-looks.jsonl`: every time sealed images were opened, and what was seen.

Append-only. A look has two lines: one of state `opened` before its first image is decoded, and one
of state `done` or `failed` when it ends. Without the second it was killed. Openings count.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness import files
from harness.paths import StudyPaths

OWN = "test"  # the name of the study's own test images


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Data(_Line):
    """The images of a look; `sha256`: see `harness.evaluation.sealed_data.content_hash`."""

    name: str
    n_images: int
    sha256: str


class Chosen(_Line):
    """Thresholds by class name, chosen on so many validation images; {} in multiclass tasks."""

    thresholds: dict[str, float]
    n_images: int


class Result(_Line):
    """One number of a look.

    Attributes:
        metric: dice, iou, precision, recall, miou or false_alarm_share.
        meaning: image (mean over images), pixels (of all images together), 256 (mean over
            thresholds, then over images).
        at: decided at 0.5, at the chosen threshold, by argmax, or at all 256 thresholds.
        of: name of a class; "" means over classes.
        stratum: "" is all images; else e.g. "size 1-5 %" or "objects 2".
        value: in [0, 1]; None where there is no such image.
        low, high: 95 % interval over images; None where there are too few.
        n: images that count.
    """

    metric: str
    meaning: Literal["image", "pixels", "256"]
    at: Literal["0.5", "chosen", "argmax", "256"]
    of: str = ""
    stratum: str = ""
    value: float | None
    low: float | None = None
    high: float | None = None
    n: int


class Opened(_Line):
    """The first line of a look. `at` is UTC, ISO 8601; `weights` are hashes by trial."""

    format: Literal[1] = 1
    state: Literal["opened"] = "opened"
    look: int
    at: str
    weights: dict[str, str]
    data: Data
    chosen: Chosen
    tta: bool
    ensemble: bool
    device: str
    versions: dict[str, str]


class Done(_Line):
    """The second line of a look that came to its end."""

    format: Literal[1] = 1
    state: Literal["done"] = "done"
    look: int
    at: str
    scores_sha256: str
    results: tuple[Result, ...]


class Failed(_Line):
    """The second line of a look that ended on the way; images had been opened."""

    format: Literal[1] = 1
    state: Literal["failed"] = "failed"
    look: int
    at: str
    error: str


class _AnyLine(BaseModel):
    line: Annotated[Opened | Done | Failed, Field(discriminator="state")]


@dataclass(frozen=True)
class Look:
    """One look: its opening, and its end; None: it was killed, or is running."""

    opened: Opened
    end: Done | Failed | None = None

    @property
    def number(self) -> int:
        return self.opened.look

    @property
    def results(self) -> tuple[Result, ...]:
        return self.end.results if isinstance(self.end, Done) else ()


@dataclass(frozen=True)
class Ledger:
    """What the ledger holds, in order.

    Attributes:
        damaged: numbers, from 1, of lines that cannot be read; each may have been a look.
    """

    looks: tuple[Look, ...] = ()
    damaged: tuple[int, ...] = field(default=())

    def n_looks(self, name: str = OWN) -> int:
        """How often the images of that name were opened."""
        return sum(look.opened.data.name == name for look in self.looks)

    @property
    def others(self) -> tuple[str, ...]:
        """Names of the further data sets, in order of their first look."""
        names = dict.fromkeys(look.opened.data.name for look in self.looks)
        return tuple(name for name in names if name != OWN)

    def sentence(self) -> str:
        """`test looks: 2`, with those at other data sets and what cannot be read."""
        others = [f"{name}: {self.n_looks(name)}" for name in self.others]
        damaged = f"; {_unreadable(self.damaged)}" if self.damaged else ""
        return f"test looks: {self.n_looks()}" + "".join(f"; {o}" for o in others) + damaged


def read_ledger(paths: StudyPaths) -> Ledger:
    """The ledger of a study; empty where there is none. Damaged lines are named, never raised."""
    opened: dict[int, Opened] = {}
    ends: dict[int, Done | Failed] = {}
    damaged = []
    for number, text in enumerate(_lines(paths.test_looks), start=1):
        line = _parsed(text)
        if line is None or (isinstance(line, Opened) and line.look in opened):
            damaged.append(number)
        elif isinstance(line, Opened):
            opened[line.look] = line
        else:
            ends[line.look] = line
    looks = tuple(Look(line, ends.get(number)) for number, line in opened.items())
    return Ledger(looks, tuple(damaged))


def warning(paths: StudyPaths, ledger: Ledger) -> str | None:
    """One line on what cannot be read in the ledger; None: all can."""
    if not ledger.damaged:
        return None
    return f"{paths.test_looks}: {_unreadable(ledger.damaged)}; left as it is"


def next_number(paths: StudyPaths, ledger: Ledger) -> int:
    """A number that no look has had, even where the ledger has lost lines."""
    folders = [int(p.name) for p in paths.look(0).root.parent.glob("*") if p.name.isdecimal()]
    known = [look.number for look in ledger.looks]
    return max([0, *known, *folders, len(ledger.looks) + len(ledger.damaged)]) + 1


def enter(paths: StudyPaths, line: Opened | Done | Failed) -> None:
    """Append a line and fsync it. A torn last line stays, on a line of its own.

    Raises:
        OSError: it could not be written; then nothing must be opened.
    """
    place = paths.test_looks
    if place.exists() and place.stat().st_size and place.read_bytes()[-1:] != b"\n":
        with place.open("ab") as handle:
            handle.write(b"\n")
    files.append_line(place, line.model_dump(mode="json"))


def _lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines() if path.is_file() else []


def _parsed(text: bytes) -> Opened | Done | Failed | None:
    if not text.strip():
        return None
    try:
        return _AnyLine.model_validate({"line": json.loads(text)}).line
    except (ValidationError, ValueError, RecursionError):
        return None


def _unreadable(lines: Sequence[int]) -> str:
    which = ", ".join(map(str, lines))
    if len(lines) == 1:
        return f"line {which} of the ledger cannot be read, and may have been a look"
    return f"lines {which} of the ledger cannot be read, and may have been looks"
