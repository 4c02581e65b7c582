"""Ledger of test runs, `test-looks.jsonl`: when held-out images were opened, and the results.

The file is append-only. A test run has two lines: one of state `opened` before its first image is
decoded, and one of state `done` or `failed` at its end. A run without a second line was killed.
Every opening counts as a use of the test images, however the run ended.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.config.decision_rule import DecisionRule
from harness.core import files
from harness.core.paths import StudyPaths
from harness.evaluation.decision.step_effects import StepEffect

TEST_SPLIT = "test"  # name of the study's own test images; no further data set may have it
# Names for readers of `HeldOutResult.meaning` and `HeldOutResult.at`.
AGGREGATION_NAMES: Final = {
    "image": "mean over images",
    "pixels": "of all pixels together",
    "256": "mean over 256 thresholds",
}
DECISION_NAMES: Final = {
    "0.5": "p ≥ 0.5",
    "chosen": "chosen threshold",
    "cleaned": "after clean-up",
    "argmax": "argmax",
    "256": "all",
}


class _LedgerLine(BaseModel):
    # JSON has no NaN or infinity; without this check
    # such a line would fail only when it is written.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class LedgerDataset(_LedgerLine):
    """Images of a test run; `sha256` is `EvaluationImages.content_hash`."""

    name: str
    n_images: int
    sha256: str


class LedgerThresholds(_LedgerLine):
    """Thresholds by class name ({} in multiclass tasks), and the number of images they rest on."""

    thresholds: dict[str, float]
    n_images: int


class HeldOutResult(_LedgerLine):
    """One number of a test run.

    Attributes:
        metric: dice, iou, precision, recall, miou or false_alarm_share.
        meaning: image (mean over images), pixels (pooled over all images), 256 (mean over 256
            thresholds, then over images).
        at: decision: 0.5, the chosen threshold, argmax, all 256 thresholds, or cleaned: the
            whole rule, with its clean-up.
        of: name of a class; "" is the mean over classes.
        stratum: "" for all images; otherwise e.g. "size 1-5 %" or "objects 2".
        value: in [0, 1]; None if no image counts.
        low, high: 95 % interval over images; None with too few images.
        n: number of images that count.
    """

    metric: str
    meaning: Literal["image", "pixels", "256"]
    at: Literal["0.5", "chosen", "argmax", "256", "cleaned"]
    of: str = ""
    stratum: str = ""
    value: float | None
    low: float | None = None
    high: float | None = None
    n: int


class LedgerStart(_LedgerLine):
    """First line of a test run.

    Attributes:
        at: UTC, ISO 8601.
        weights: SHA-256 hashes by trial.
        rule: frozen decision rule; None if it has no clean-up (`chosen` is then the whole rule).
    """

    format: Literal[1] = 1
    state: Literal["opened"] = "opened"
    look: int
    at: str
    weights: dict[str, str]
    data: LedgerDataset
    chosen: LedgerThresholds
    tta: bool
    ensemble: bool
    device: str
    versions: dict[str, str]
    rule: DecisionRule | None = None


class LedgerFinish(_LedgerLine):
    """Second line of a completed test run; `steps` are the effects of the clean-up, if any."""

    format: Literal[1] = 1
    state: Literal["done"] = "done"
    look: int
    at: str
    scores_sha256: str
    results: tuple[HeldOutResult, ...]
    steps: tuple[StepEffect, ...] = ()


class LedgerFailure(_LedgerLine):
    """Second line of a test run that failed after it had opened images."""

    format: Literal[1] = 1
    state: Literal["failed"] = "failed"
    look: int
    at: str
    error: str


class _AnyLedgerLine(BaseModel):
    line: Annotated[LedgerStart | LedgerFinish | LedgerFailure, Field(discriminator="state")]


@dataclass(frozen=True)
class HeldOutTest:
    """One test run: its start and its end; end is None if it was killed or is still running."""

    start: LedgerStart
    end: LedgerFinish | LedgerFailure | None = None

    @property
    def number(self) -> int:
        return self.start.look

    @property
    def results(self) -> tuple[HeldOutResult, ...]:
        return self.end.results if isinstance(self.end, LedgerFinish) else ()


@dataclass(frozen=True)
class HeldOutLedger:
    """Content of the ledger, in order.

    Attributes:
        damaged_lines: numbers, from 1, of unreadable lines; each may have been a test run.
    """

    tests: tuple[HeldOutTest, ...] = ()
    damaged_lines: tuple[int, ...] = field(default=())

    def count_tests(self, name: str = TEST_SPLIT) -> int:
        """Number of test runs that opened the images of that name."""
        return sum(test.start.data.name == name for test in self.tests)

    @property
    def external_names(self) -> tuple[str, ...]:
        """Names of the further data sets, in order of their first test run."""
        names = dict.fromkeys(test.start.data.name for test in self.tests)
        return tuple(name for name in names if name != TEST_SPLIT)

    def sentence(self) -> str:
        """`test runs: 2`, with the number for each further data set and the unreadable lines."""
        others = [f"{name}: {self.count_tests(name)}" for name in self.external_names]
        damaged = f"; {_describe_damage(self.damaged_lines)}" if self.damaged_lines else ""
        return f"test runs: {self.count_tests()}" + "".join(f"; {o}" for o in others) + damaged


def read_held_out_ledger(paths: StudyPaths) -> HeldOutLedger:
    """Read the ledger of a study; empty if there is none.

    Damaged lines are reported in `damaged_lines` and raise no error: the earlier test runs must
    stay countable.
    """
    starts: dict[int, LedgerStart] = {}
    ends: dict[int, LedgerFinish | LedgerFailure] = {}
    damaged = []
    for number, text in enumerate(_read_lines(paths.test_ledger), start=1):
        line = _parse_line(text)
        # a second start with the same number is not trusted: it would hide the first one
        if line is None or (isinstance(line, LedgerStart) and line.look in starts):
            damaged.append(number)
        elif isinstance(line, LedgerStart):
            starts[line.look] = line
        else:
            ends[line.look] = line
    tests = tuple(HeldOutTest(line, ends.get(number)) for number, line in starts.items())
    return HeldOutLedger(tests, tuple(damaged))


def ledger_warning(paths: StudyPaths, ledger: HeldOutLedger) -> str | None:
    """One line about unreadable lines of the ledger; None if there are none."""
    if not ledger.damaged_lines:
        return None
    return f"{paths.test_ledger}: {_describe_damage(ledger.damaged_lines)}; the file is kept as is"


def next_test_number(paths: StudyPaths, ledger: HeldOutLedger) -> int:
    """An unused number for the next test run, also if the ledger has lost lines."""
    # Folders and damaged lines count too: a reused number would overwrite an earlier run's scores.
    folders = [int(p.name) for p in paths.test_run(0).root.parent.glob("*") if p.name.isdecimal()]
    numbers = [test.number for test in ledger.tests]
    return max([0, *numbers, *folders, len(ledger.tests) + len(ledger.damaged_lines)]) + 1


def append_to_ledger(paths: StudyPaths, line: LedgerStart | LedgerFinish | LedgerFailure) -> None:
    """Append a line and fsync it. A torn last line is kept as a line of its own.

    Raises:
        OSError: the line could not be written; the caller must then open no image.
    """
    path = paths.test_ledger
    # A process that was killed while writing leaves a line without its newline: without this
    # newline the next entry would be appended to it, and both would be unreadable.
    if path.exists() and path.stat().st_size and path.read_bytes()[-1:] != b"\n":
        with path.open("ab") as handle:
            handle.write(b"\n")
    record = line.model_dump(mode="json")
    # Left out where empty: versions without clean-up refuse unknown fields.
    empty = [name for name in ("rule", "steps") if name in record and not record[name]]
    files.append_jsonl(path, {key: value for key, value in record.items() if key not in empty})


def _read_lines(path: Path) -> list[bytes]:
    # Bytes, as a damaged line may be invalid UTF-8;
    # str.splitlines also splits at U+2028 and others.
    return path.read_bytes().splitlines() if path.is_file() else []


def _parse_line(text: bytes) -> LedgerStart | LedgerFinish | LedgerFailure | None:
    if not text.strip():
        return None
    try:
        return _AnyLedgerLine.model_validate({"line": json.loads(text)}).line
    # json recurses into brackets, so a damaged line can exceed Python's recursion limit.
    except (ValidationError, ValueError, RecursionError):  # deeply nested JSON: RecursionError
        return None


def _describe_damage(lines: Sequence[int]) -> str:
    numbers = ", ".join(map(str, lines))
    if len(lines) == 1:
        return f"line {numbers} of the ledger cannot be read; it may have been a test run"
    return f"lines {numbers} of the ledger cannot be read; they may have been test runs"
