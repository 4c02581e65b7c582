"""What there is to say about a dataset: each finding with its files and its remedy."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from harness.data.copies import Copy
from harness.data.look import BadPair, Look, Overview
from harness.data.pairs import SUFFIXES
from harness.wording import plural

Severity = Literal["error", "warning", "note"]
BAD: Final = "cannot be used"  # the topic of pairs that cannot be read
SEVERITIES: Final[tuple[Severity, ...]] = ("error", "warning", "note")

_MANY_EMPTY: Final = 0.5
_BORDER: Final = 0.02  # of a side; narrower ones are how a codec ends a picture
_MODES: Final = (
    ("alpha", ("RGBA", "grey+alpha"), "it is not shown to the network unless channels says so"),
    ("palette", ("palette",), "their colours are looked up"),
    ("CMYK", ("CMYK",), "they are converted to RGB, roughly; save them as RGB"),
)


@dataclass(frozen=True)
class Finding:
    """One thing to know. `files` are images, relative to the dataset's root, in order."""

    severity: Severity
    topic: str
    what: str
    remedy: str
    files: tuple[str, ...] = ()


INSTANCES: Final = Finding(
    "warning",
    "instance ids",
    "the masks hold numbers of objects (instance ids), not classes",
    "use data.values: nonzero, as proposed: all objects are of one class",
)


def find(overview: Overview, copies: Sequence[Copy], *, skip_bad: bool = False) -> list[Finding]:
    """Every finding, errors first.

    Args:
        skip_bad: pairs that cannot be used are left out on purpose: they become warnings.
    """
    found = [
        *_bad(overview, "warning" if skip_bad else "error"),
        *_unread(overview),
        *_annotated_twice(overview, copies),
        *_copies(overview, copies),
        *_masks(overview),
        *_absent(overview),
        *_storage(overview),
        *_pictures(overview),
    ]
    return by_severity(found)


def by_severity(found: Iterable[Finding]) -> list[Finding]:
    """Findings, errors first."""
    return sorted(found, key=lambda finding: SEVERITIES.index(finding.severity))


def is_empty(look: Look, task: str) -> bool:
    """Whether nothing is to be found: no class, or class 0 alone where one is the background."""
    return not any(look.shares) if task == "multilabel" else not any(look.shares[1:])


def is_full(look: Look, task: str) -> bool:
    """Whether one class that is no background covers the picture."""
    shares = look.shares if task == "multilabel" else look.shares[1:]
    return any(share >= 1 for share in shares)


def same_mask(one: Look, other: Look) -> bool:
    """Whether two masks are equal once decoded, or stored in equal files."""
    if one.mask_sha256 == other.mask_sha256:
        return True
    return bool(one.seen.mask_pixels) and one.seen.mask_pixels == other.seen.mask_pixels


def has_border(look: Look) -> bool:
    """Whether a black border is at least 2 % of a side wide."""
    height, width = look.size
    top, right, bottom, left = look.seen.border
    return top + bottom >= _BORDER * height or left + right >= _BORDER * width


def _bad(overview: Overview, severity: Severity) -> Iterator[Finding]:
    """One finding for each kind of problem, with the first as its example."""
    root = f"{overview.dataset.root}/"
    for alike in kinds_of_bad(overview):
        problem = alike[0].problem.replace(root, "")
        names = (path.as_posix() for path in (alike[0].pair.image, *alike[0].pair.masks))
        name = next((one for one in names if problem.startswith(one)), "")
        what, mark, remedy = problem[len(name) :].rpartition("; ")  # a name may hold one, too
        if not mark:
            what, remedy = remedy, "mend or remove it, or leave it out with --skip-bad"
        what = name + what
        yield Finding(
            severity,
            BAD,
            what if len(alike) == 1 else f"{_n(alike, 'pair')}, the first: {what}",
            remedy,
            tuple(bad.pair.image.as_posix() for bad in alike),
        )


def kinds_of_bad(overview: Overview) -> list[list[BadPair]]:
    """The pairs that cannot be used, those of one kind of problem together."""
    kinds: dict[str, list[BadPair]] = {}
    for bad in overview.bad:
        kinds.setdefault(_kind(bad), []).append(bad)
    return list(kinds.values())


def _kind(bad: BadPair) -> str:
    """A problem without names of files, values and numbers: equal ones are one kind."""
    text = bad.problem
    for path in (bad.pair.image, *bad.pair.masks):
        text = text.replace(path.as_posix(), "").replace(path.name, "")
    text = re.sub(r"\{.*?\}", "", text)
    text = re.sub(r"#[0-9a-f]{6}|[0-9]+(?:[.,][0-9]+)*", "0", text)
    return re.sub(r"0(?:, 0)*(?:, \.\.\.)?(?: \(0 different\))?", "0", text)


def _unread(overview: Overview) -> Iterator[Finding]:
    unread = tuple(path.as_posix() for path in overview.dataset.unread)
    if unread:
        yield Finding(
            "warning",
            "files not read",
            f"{_n(unread, 'file')} beside the pairs that hold images under other names",
            f"rename them to one of {' '.join(SUFFIXES)}, or take them away",
            unread,
        )


def _annotated_twice(overview: Overview, copies: Sequence[Copy]) -> Iterator[Finding]:
    pairs, looks = overview.dataset.pairs, overview.looks
    twice = tuple(
        f"{pairs[two.one].image.as_posix()} = {pairs[two.other].image.as_posix()}"
        for two in copies
        if two.kind == "exact" and not same_mask(looks[two.one], looks[two.other])
    )
    if twice:
        yield Finding(
            "warning",
            "copies with other masks",
            f"{_n(twice, 'image')} with equal pixels as another, but another mask",
            "look which mask is right, and remove the other pair; harness data clean keeps both, "
            "a split too, on one side",
            twice,
        )


def _copies(overview: Overview, copies: Sequence[Copy]) -> Iterator[Finding]:
    pairs = overview.dataset.pairs
    for kind, text in (("exact", "equal pixels"), ("near", "the same scene")):
        of_kind = [(pairs[two.one], pairs[two.other]) for two in copies if two.kind == kind]
        sides = [(one, other) for one, other in of_kind if one.role != other.role]
        apart = tuple(f"{one.image.as_posix()} = {other.image.as_posix()}" for one, other in sides)
        if apart:
            yield Finding(
                "error" if kind == "exact" else "warning",
                f"{kind} copies on two sides",
                f"{_n(apart, 'image')} with {text} and different roles in the split",
                "keep one of each, or give both one role",
                apart,
            )
        together = tuple(
            f"{one.image.as_posix()} = {other.image.as_posix()}"
            for one, other in of_kind
            if one.role == other.role
        )
        if together:
            yield Finding(
                "note",
                f"{kind} copies",
                f"{_n(together, 'image')} with {text} as another",
                "a split keeps them on one side; harness data clean leaves exact ones with equal "
                "masks out",
                together,
            )


def _masks(overview: Overview) -> Iterator[Finding]:
    task, size = overview.dataset.data.task, overview.dataset.data.eval_size
    empty = _files(overview, lambda look: is_empty(look, task))
    if empty:
        many = len(empty) > _MANY_EMPTY * len(overview.looks)
        remedy = "they stay out of Dice and IoU and count as false alarms where something is found"
        yield Finding(
            "warning" if many else "note",
            "empty masks",
            f"{_n(empty, 'mask')} of {len(overview.looks)} hold nothing to find",
            f"more than half: check that the values mean what data: says; {remedy}"
            if many
            else remedy,
            empty,
        )
    full = _files(overview, lambda look: is_full(look, task))
    if full:
        what = f"{_n(full, 'mask')} of one class all over"
        yield Finding("note", "full masks", what, "check that they are meant", full)
    gone = _files(overview, lambda look: look.seen.n_vanishing > 0)
    if gone:
        n = sum(look.seen.n_vanishing for look in overview.looks)
        yield Finding(
            "warning",
            "vanishing objects",
            f"{_n(range(n), 'object')} in {_n(gone, 'mask')} too small to see at eval_size {size}",
            "raise data.eval_size, or remove specks from the masks",
            gone,
        )
    noisy = _files(overview, lambda look: look.seen.mask.kind == "noisy")
    if noisy:
        what = f"{_n(noisy, 'mask')} with JPEG's noise around two values"
        yield Finding("note", "noisy masks", what, "they are cut at 127; PNG would be exact", noisy)


def _absent(overview: Overview) -> Iterator[Finding]:
    data = overview.dataset.data
    for index in data.scored_classes:
        if overview.looks and not any(look.shares[index] for look in overview.looks):
            what = f"no mask holds the class {data.classes[index]!r}"
            yield Finding("warning", "absent class", what, "check data.classes and data.values")


def _storage(overview: Overview) -> Iterator[Finding]:
    channels = overview.dataset.data.channels
    for topic, modes, remedy in _MODES:
        found = _of_modes(overview, modes)
        if found:
            yield Finding("note", topic, f"{_n(found, 'image')} with {topic}", remedy, found)
    grey = _of_modes(overview, ("grey",))
    if grey and (channels != 1 or len(grey) < len(overview.looks)):
        what, remedy = (
            f"{_n(grey, 'image')} stored as grey",
            f"their values fill {channels} {plural('channel', channels)}",
        )
        yield Finding("note", "grey", what, remedy, grey)
    deep = _files(overview, lambda look: look.seen.stored.bits > 8)
    if deep and len(deep) < len(overview.looks):
        what = f"{_n(deep, 'image')} with more than 8 bits a sample, the others 8"
        yield Finding("warning", "mixed depth", what, "save all with one depth", deep)
    turned = _files(overview, lambda look: look.seen.stored.orientation != 1)
    if turned:
        what = f"{_n(turned, 'image')} turned by their EXIF orientation"
        remedy = "their masks are turned with them; look whether they fit"
        yield Finding("note", "EXIF orientation", what, remedy, turned)


def _of_modes(overview: Overview, modes: tuple[str, ...]) -> tuple[str, ...]:
    return _files(overview, lambda look: look.seen.stored.mode in modes)


def _pictures(overview: Overview) -> Iterator[Finding]:
    border = _files(overview, has_border)
    if border:
        what = f"{_n(border, 'image')} with a black border"
        yield Finding("note", "black border", what, "harness data clean crops it", border)
    for topic, found in (
        ("burnt-in text", _files(overview, lambda look: bool(look.seen.text))),
        ("panels", _files(overview, lambda look: bool(look.seen.panels))),
    ):
        if found:
            yield Finding(
                "note",
                topic,
                f"{_n(found, 'image')} with what may be {topic} over the scene (a guess; many are "
                "missed)",
                "a network may learn from it where a picture was taken; "
                + (
                    "harness data clean --cover-text paints over what was found"
                    if topic == "burnt-in text"
                    else "crop it where you can"
                ),
                found,
            )


def _files(overview: Overview, wanted: Callable[[Look], bool]) -> tuple[str, ...]:
    pairs = overview.dataset.pairs
    return tuple(
        pair.image.as_posix()
        for pair, look in zip(pairs, overview.looks, strict=True)
        if wanted(look)
    )


def _n(counted: Sequence[object], name: str) -> str:
    return f"{len(counted):,} {plural(name, len(counted))}"
