"""The section "Test": what each look at sealed images gave, from the ledger alone."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from harness.data.splits import SplitRow
from harness.evaluation.sealed_ledger import (
    OWN,
    Done,
    Failed,
    Look,
    Result,
    read_ledger,
    warning,
)
from harness.paths import StudyPaths
from harness.report.sheets import Cell, Column, Sheet
from harness.report.wording import count

_MEANINGS: Final = {
    "image": "mean over images",
    "pixels": "of all pixels together",
    "256": "mean over 256 thresholds",
}
_AT: Final = {"0.5": "p ≥ 0.5", "chosen": "chosen threshold", "argmax": "argmax", "256": "all"}
_SHORT: Final = {"image": "", "pixels": "pixels", "256": "256"}
_NAMES: Final = {"iou": "IoU", "miou": "mIoU", "false_alarm_share": "False alarms"}
_MOST_PICTURE_BYTES = 1_000_000


@dataclass(frozen=True)
class ShownLook:
    """One look as it is printed.

    Attributes:
        facts: sentences: which weights, which thresholds, what they were computed with.
        sheets: tables with their titles.
        pictures: name, and address for the page, of the examples that were drawn.
    """

    number: int
    title: str
    facts: tuple[str, ...]
    sheets: tuple[tuple[str, Sheet], ...] = ()
    pictures: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class LooksSection:
    """The section, the latest look first; `empty` stands where no look was taken.

    Attributes:
        n_looks: at the study's own test images.
    """

    n_looks: int
    sentence: str
    notes: tuple[str, ...]
    looks: tuple[ShownLook, ...]
    empty: str


def looks_section(paths: StudyPaths, split: Sequence[SplitRow], *, images: bool) -> LooksSection:
    """What the ledger of a study says.

    Args:
        split: rows of split.csv; may be empty.
        images: whether to show the examples that looks have drawn.
    """
    ledger = read_ledger(paths)
    said = warning(paths, ledger)
    notes = [] if said is None else [said]
    again = [name for name in (OWN, *ledger.others) if ledger.n_looks(name) > 1]
    if again:
        named = ", ".join("the test images" if name == OWN else name for name in again)
        notes.append(
            f"More than one look was taken at {named}: what was chosen in between was chosen by "
            "them too, and later numbers flatter it."
        )
    looks = [_with_pictures(paths, look) if images else shown(look) for look in ledger.looks]
    return LooksSection(
        ledger.n_looks(),
        ledger.sentence(),
        tuple(notes),
        tuple(reversed(looks)),
        _empty(paths, split),
    )


def untouched(paths: StudyPaths, split: Sequence[SplitRow]) -> str:
    """What the summary says of test images: `; 9 test images left untouched`, or how often not."""
    n_test, ledger = _n_test(split), read_ledger(paths)
    if ledger.n_looks() or ledger.damaged:
        return f"; {count(n_test, 'test image')} opened ({ledger.sentence()})"
    return f"; {count(n_test, 'test image')} left untouched" if n_test else ""


def shown(look: Look, *, brief: bool = False) -> ShownLook:
    """One look in words and tables.

    Args:
        brief: of classes and strata show only the means over images at 0.5, or by argmax.
    """
    opened = look.opened
    name = "the test images" if opened.data.name == OWN else opened.data.name
    title = f"Look {look.number}: {name}, {opened.at}"
    if isinstance(look.end, Done):
        sheets = tuple(_sheets(look.results, brief=brief))
        return ShownLook(look.number, title, tuple(_facts(look)), sheets)
    ended = "it was stopped on the way, or is running"
    if isinstance(look.end, Failed):
        ended = f"it failed on the way: {look.end.error}"
    return ShownLook(look.number, title, (*_facts(look), f"No numbers: {ended}."))


def _empty(paths: StudyPaths, split: Sequence[SplitRow]) -> str:
    command, n_test = f"harness test --study {paths.name}", _n_test(split)
    if not split:
        return "No look was taken; split.csv is missing, so the test images are not known."
    if not n_test:
        return f"The split has no test images. Look at others: {command} --on NAME=FOLDER"
    wait = "waits" if n_test == 1 else "wait"
    return f"{count(n_test, 'test image')} {wait} sealed; nobody has looked: {command}"


def _n_test(split: Sequence[SplitRow]) -> int:
    return sum(row.role == "test" for row in split)


def _facts(look: Look) -> list[str]:
    opened = look.opened
    trained = " + ".join(opened.weights)
    how = f"mean of trials {trained}" if opened.ensemble else f"weights of trial {trained}"
    how += ", averaged over four flips" if opened.tta else ""
    facts = [
        f"{count(opened.data.n_images, 'image')} at their own sizes, content "
        f"{opened.data.sha256[:12]}; {how}; {opened.device}."
    ]
    if opened.chosen.thresholds:
        each = ", ".join(f"{name} {value:.2f}" for name, value in opened.chosen.thresholds.items())
        n = count(opened.chosen.n_images, "validation image")
        facts.append(f"Chosen threshold: {each}; on {n}, before any of these images was opened.")
    if look.results and not any(result.low is not None for result in look.results):
        facts.append("Fewer than 50 images: too few for an interval.")
    return facts


def _sheets(results: Sequence[Result], *, brief: bool) -> list[tuple[str, Sheet]]:
    plain = [r for r in results if not r.of and not r.stratum]
    places = list(dict.fromkeys((r.meaning, r.at) for r in plain if r.metric == "dice"))
    places = places[:1] if brief else places
    found = [("all images", _long(plain))]
    classes = {r.of: [x for x in results if x.of == r.of] for r in results if r.of}
    if classes:
        found.append(("by class", _wide("class", classes, places)))
    for kind, title in (("size", "size of object"), ("objects", "number of objects")):
        groups = {
            r.stratum.removeprefix(f"{kind} "): [x for x in results if x.stratum == r.stratum]
            for r in results
            if r.stratum.startswith(f"{kind} ")
        }
        found.append((f"by {title}", _wide(title, groups, places)))
    return found


def _long(results: Sequence[Result]) -> Sheet:
    """A row for each number."""
    columns = (
        Column("metric", "see docs/test.md", ""),
        Column("meaning", "over what it is taken", ""),
        Column("decided at", "which pixels count as found", ""),
        Column("value", "0 to 1"),
        Column("interval", "95 % BCa bootstrap over images"),
        Column("images", "how many count"),
    )
    rows = []
    for r in results:
        texts = (_named(r.metric), _MEANINGS[r.meaning], _AT[r.at])
        interval = _interval(r) or ("too few" if r.n else "")
        low = "" if r.low is None else repr(r.low)
        cells = (_value(r), Cell(interval, low), Cell(str(r.n), str(r.n)))
        rows.append((*(Cell(text, text) for text in texts), *cells))
    return Sheet(columns, tuple(rows))


def _wide(first: str, groups: dict[str, list[Result]], places: Sequence[tuple[str, str]]) -> Sheet:
    """Dice and IoU in each meaning, a row for each group of images."""
    keys = [(metric, *place) for metric in ("dice", "iou") for place in places]
    columns = [Column(first, "which images", ""), Column("images", "how many have it")]
    columns += [
        Column(
            " ".join(part for part in (_named(metric), _SHORT[meaning], _at_short(at)) if part),
            f"{_MEANINGS[meaning]}, decided at {_AT[at]}; 95 % interval over images",
        )
        for metric, meaning, at in keys
    ]
    rows = []
    for place, (name, group) in enumerate(groups.items()):
        by: dict[tuple[str, str, str], Result] = {(r.metric, r.meaning, r.at): r for r in group}
        n = str(by[keys[0]].n)
        cells = [_value(by[key], interval=True) for key in keys]
        rows.append((Cell(name, str(place)), Cell(n, n), *cells))
    return Sheet(tuple(columns), tuple(rows))


def _value(result: Result, *, interval: bool = False) -> Cell:
    if result.value is None:
        return Cell("–", "", "no such image")
    text = f"{result.value:.4f}"
    if interval:
        text = f"{text} {_interval(result)}".strip()
    return Cell(text, repr(result.value), repr(result.value))


def _interval(result: Result) -> str:
    if result.low is None or result.high is None:
        return ""
    return f"[{result.low:.4f}, {result.high:.4f}]"


def _at_short(at: str) -> str:
    return {"256": "", "argmax": ""}.get(at, at)


def _named(metric: str) -> str:
    return _NAMES.get(metric, metric.capitalize())


def _with_pictures(paths: StudyPaths, look: Look) -> ShownLook:
    page, found = shown(look), []
    for name in ("worst", "median", "best"):
        path = paths.look(look.number).picture(name)
        if page.sheets and path.is_file() and path.stat().st_size <= _MOST_PICTURE_BYTES:
            data = base64.b64encode(path.read_bytes()).decode("ascii")
            found.append((name, f"data:image/png;base64,{data}"))
    return replace(page, pictures=tuple(found))
