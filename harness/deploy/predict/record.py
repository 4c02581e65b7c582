"""Record of a prediction folder: which files are finished, by which weights and rule."""

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from pydantic import Field, ValidationError

from harness.core import files
from harness.core.errors import ConfigError, UserError
from harness.core.settings import StrictSettings
from harness.deploy.predict.inputs import InputFile

RECORD_NAME, TABLE_NAME = "predictions.jsonl", "predictions.csv"


class RecordStart(StrictSettings):
    """First line of a record: everything that decides about the masks.

    Attributes:
        weights: SHA-256 by label.
        rule: the decision rule, as JSON.
    """

    format: int = 1
    study: str
    study_id: str
    weights: dict[str, str]
    tta: bool
    rule: str

    @property
    def text(self) -> str:
        """The weights in words."""
        flips = " with flips" if self.tta else ""
        return f"{self.study}, {' + '.join(self.weights)}{flips}"


class FileRecord(StrictSettings):
    """A file that was predicted, or that could not be.

    Attributes:
        source: absolute path of the image.
        values: columns of predictions.csv; {} after an error.
        probabilities, overlays: True if these were written in addition to the mask.
        geo: True if the image is a GeoTIFF, and so is its mask.
    """

    file: str
    source: str
    size: int
    mtime_ns: int
    values: dict[str, int | float] = Field(default_factory=dict)
    error: str | None = None
    probabilities: bool = False
    overlays: bool = False
    geo: bool = False

    def is_of(self, file: InputFile) -> bool:
        """True if it is of this file with this content, as far as size and time tell."""
        return (self.size, self.mtime_ns) == (file.size, file.mtime_ns)

    @property
    def row(self) -> dict[str, Any]:
        """The row of predictions.csv."""
        return {"file": self.file, **self.values, "error": self.error or ""}


class PredictionRecord:
    """Append-only record in `predictions.jsonl`; opened by `open_record`.

    Attributes:
        files: the last record of each file, by name.
    """

    def __init__(self, path: Path, handle: IO[bytes], entries: Sequence[FileRecord]) -> None:
        self._path, self._handle = path, handle
        self.files = {entry.file: entry for entry in entries}

    def append(self, entries: Sequence[FileRecord]) -> None:
        """Append these and fsync once. Raises OSError."""
        self.write_lines([entry.model_dump_json() for entry in entries])
        self.files |= {entry.file: entry for entry in entries}

    def write_lines(self, lines: Sequence[str]) -> None:
        """Append lines of JSON and fsync once. Raises OSError."""
        with files.attach_path(self._path):
            self._handle.write("".join(f"{line}\n" for line in lines).encode("utf-8"))
            self._handle.flush()
            os.fsync(self._handle.fileno())


@contextmanager
def open_record(out: Path, start: RecordStart) -> Iterator[PredictionRecord]:
    """Create the record of a folder, or continue it; no other process can at the same time.

    Raises:
        UserError: the folder has files of another origin, its masks are of other weights or
            another rule, or another process writes into it.
        ConfigError: the record is damaged.
    """
    path = out / RECORD_NAME
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out}: is a file; choose a folder")
    if out.is_dir() and not path.exists() and any(out.iterdir()):
        raise UserError(
            f"--out {out}: holds files that harness predict did not write; choose an empty or a "
            "new folder"
        )
    out.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"--out {out}: another harness predict writes into it; wait for it, or choose "
                "another folder"
            ) from None
        lines = _read_complete_lines(handle)
        entries = _parse_entries(path, lines, start) if lines else []
        record = PredictionRecord(path, handle, entries)
        if not lines:
            record.write_lines([start.model_dump_json()])
        yield record


def _read_complete_lines(handle: IO[bytes]) -> list[bytes]:
    """The whole lines; half a line that a kill left is cut off, so that none continues it."""
    handle.seek(0)
    complete = handle.read().rpartition(b"\n")[0]
    handle.truncate(len(complete) + 1 if complete else 0)
    return complete.split(b"\n") if complete else []


def _parse_entries(path: Path, lines: Sequence[bytes], start: RecordStart) -> list[FileRecord]:
    try:
        earlier = RecordStart.model_validate_json(lines[0])
        entries = [FileRecord.model_validate_json(line) for line in lines[1:]]
    except ValidationError as error:
        raise ConfigError(
            f"{path}: a damaged record ({str(error).splitlines()[0]}); choose another --out, or "
            f"delete {path.parent} to predict all files again"
        ) from error
    if earlier != start:
        raise UserError(
            f"--out {path.parent}: its masks are of other weights or another rule "
            f"({earlier.text}; now {start.text}); choose another folder, or delete this one"
        )
    return entries
