"""Collect findings about a dataset, each with severity, files and remedy."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from harness.core.text import plural
from harness.data.datasets.pairs import SUFFIXES
from harness.data.scan.near_duplicates import DuplicatePair
from harness.data.scan.pair_scan import BadPair
from harness.data.scan.scan import DatasetScan, PairStats
from harness.inspection.pair_checks import has_border, is_empty, is_full, same_mask

Severity = Literal["error", "warning", "note"]
BAD_TOPIC: Final = "cannot be used"  # the topic of pairs that cannot be read
SEVERITIES: Final[tuple[Severity, ...]] = ("error", "warning", "note")

# Share of empty masks above which a wrong meaning of the values is likelier than images without
# objects.
_MANY_EMPTY: Final = 0.5
_MODES: Final = (
    ("alpha", ("RGBA", "grey+alpha"), "the network does not see it unless data.channels counts it"),
    ("palette", ("palette",), "the colours of the palette are used"),
    ("CMYK", ("CMYK",), "their conversion to RGB is approximate; save them as RGB"),
)


@dataclass(frozen=True)
class Finding:
    """Problem or remark about a dataset. `files` are images relative to its root, in order."""

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


def collect_findings(
    scan: DatasetScan, copies: Sequence[DuplicatePair], *, skip_bad: bool = False
) -> list[Finding]:
    """Collect every finding, errors first.

    Args:
        skip_bad: unusable pairs are left out on purpose: they become warnings.
    """
    findings = [
        *_bad_pair_findings(scan, "warning" if skip_bad else "error"),
        *_unread_findings(scan),
        *_conflicting_mask_findings(scan, copies),
        *_duplicate_findings(scan, copies),
        *_mask_findings(scan),
        *_absent_class_findings(scan),
        *_storage_findings(scan),
        *_image_findings(scan),
    ]
    return sort_by_severity(findings)


def sort_by_severity(findings: Iterable[Finding]) -> list[Finding]:
    """Sort findings, errors first."""
    # Stable: within a severity the findings stay in the order of their collection.
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))


def _bad_pair_findings(scan: DatasetScan, severity: Severity) -> Iterator[Finding]:
    """Yield one finding for each kind of problem, with the first pair as its example."""
    root = f"{scan.dataset.root}/"
    for group in group_bad_pairs(scan):
        problem = group[0].problem.replace(root, "")
        names = (path.as_posix() for path in (group[0].pair.image, *group[0].pair.masks))
        name = next((candidate for candidate in names if problem.startswith(candidate)), "")
        # Only after the name, which may contain a semicolon, too.
        message, separator, remedy = problem[len(name) :].rpartition("; ")
        if not separator:
            message, remedy = remedy, "repair or remove it, or leave it out with --skip-bad"
        message = name + message
        yield Finding(
            severity,
            BAD_TOPIC,
            message if len(group) == 1 else f"{_count_items(group, 'pair')}, the first: {message}",
            remedy,
            tuple(bad.pair.image.as_posix() for bad in group),
        )


def group_bad_pairs(scan: DatasetScan) -> list[list[BadPair]]:
    """Group the unusable pairs by kind of problem."""
    kinds: dict[str, list[BadPair]] = {}
    for bad in scan.bad_pairs:
        kinds.setdefault(_problem_kind(bad), []).append(bad)
    return list(kinds.values())


def _problem_kind(bad: BadPair) -> str:
    """Text of a problem without file names, values and numbers: equal texts are one kind."""
    text = bad.problem
    for path in (bad.pair.image, *bad.pair.masks):
        text = text.replace(path.as_posix(), "").replace(path.name, "")
    text = re.sub(r"\{.*?\}", "", text)
    text = re.sub(r"#[0-9a-f]{6}|[0-9]+(?:[.,][0-9]+)*", "0", text)
    # `mask_values.format_values` cuts long lists: those of all lengths must become one text.
    return re.sub(r"0(?:, 0)*(?:, \.\.\.)?(?: \(0 different\))?", "0", text)


def _unread_findings(scan: DatasetScan) -> Iterator[Finding]:
    unread = tuple(path.as_posix() for path in scan.dataset.unread)
    if unread:
        yield Finding(
            "warning",
            "files not read",
            f"{_count_items(unread, 'file')} next to the pairs with images under other suffixes",
            f"rename them to one of {' '.join(SUFFIXES)}, or remove them",
            unread,
        )


def _conflicting_mask_findings(
    scan: DatasetScan, copies: Sequence[DuplicatePair]
) -> Iterator[Finding]:
    pairs, pair_stats = scan.dataset.pairs, scan.pair_stats
    conflicts = tuple(
        f"{pairs[duplicate.first].image.as_posix()} = {pairs[duplicate.second].image.as_posix()}"
        for duplicate in copies
        if duplicate.kind == "exact"
        and not same_mask(pair_stats[duplicate.first], pair_stats[duplicate.second])
    )
    if conflicts:
        yield Finding(
            "warning",
            "copies with other masks",
            f"{_count_items(conflicts, 'image')} with the pixels of another image, but another "
            "mask",
            "check which mask is right, and remove the other pair; harness data clean keeps both, "
            "and a split gives both the same role",
            conflicts,
        )


def _duplicate_findings(scan: DatasetScan, copies: Sequence[DuplicatePair]) -> Iterator[Finding]:
    pairs = scan.dataset.pairs
    for kind, text in (("exact", "the pixels"), ("near", "the scene")):
        of_kind = [
            (pairs[duplicate.first], pairs[duplicate.second])
            for duplicate in copies
            if duplicate.kind == kind
        ]
        sides = [(first, second) for first, second in of_kind if first.role != second.role]
        on_two_sides = tuple(
            f"{first.image.as_posix()} = {second.image.as_posix()}" for first, second in sides
        )
        if on_two_sides:
            yield Finding(
                "error" if kind == "exact" else "warning",
                f"{kind} copies on two sides",
                f"{_count_items(on_two_sides, 'image')} with {text} of another image that has "
                "another role in the split",
                "keep one of the two, or give both the same role",
                on_two_sides,
            )
        together = tuple(
            f"{first.image.as_posix()} = {second.image.as_posix()}"
            for first, second in of_kind
            if first.role == second.role
        )
        if together:
            yield Finding(
                "note",
                f"{kind} copies",
                f"{_count_items(together, 'image')} with {text} of another image",
                "a split gives them the same role; harness data clean leaves out exact copies with "
                "equal masks",
                together,
            )


def _mask_findings(scan: DatasetScan) -> Iterator[Finding]:
    task, size = scan.dataset.data.task, scan.dataset.data.eval_size
    empty = _matching_files(scan, lambda stats: is_empty(stats, task))
    if empty:
        many = len(empty) > _MANY_EMPTY * len(scan.pair_stats)
        remedy = "they are excluded from Dice and IoU; a detection in them counts as a false alarm"
        yield Finding(
            "warning" if many else "note",
            "empty masks",
            f"{_count_items(empty, 'mask')} of {len(scan.pair_stats)} without foreground",
            f"more than half: check the meaning of the values in data:; {remedy}"
            if many
            else remedy,
            empty,
        )
    full = _matching_files(scan, lambda stats: is_full(stats, task))
    if full:
        message = f"{_count_items(full, 'mask')} covered by one class completely"
        yield Finding("note", "full masks", message, "check that this is intended", full)
    vanishing = _matching_files(scan, lambda stats: stats.seen.n_vanishing > 0)
    if vanishing:
        n = sum(stats.seen.n_vanishing for stats in scan.pair_stats)
        yield Finding(
            "warning",
            "vanishing objects",
            f"{_count_items(range(n), 'object')} in {_count_items(vanishing, 'mask')} too small "
            f"to see at eval_size {size}",
            "raise data.eval_size, or remove specks from the masks",
            vanishing,
        )
    noisy = _matching_files(scan, lambda stats: stats.seen.mask.kind == "noisy")
    if noisy:
        message = f"{_count_items(noisy, 'mask')} with JPEG noise around two values"
        yield Finding(
            "note", "noisy masks", message, "values above 127 are foreground; save as PNG", noisy
        )


def _absent_class_findings(scan: DatasetScan) -> Iterator[Finding]:
    data = scan.dataset.data
    for index in data.scored_classes:
        # Without a readable pair every class would seem absent, and the real cause is reported
        # already.
        if scan.pair_stats and not any(stats.shares[index] for stats in scan.pair_stats):
            message = f"no mask contains the class {data.classes[index]!r}"
            yield Finding("warning", "absent class", message, "check data.classes and data.values")


def _storage_findings(scan: DatasetScan) -> Iterator[Finding]:
    channels = scan.dataset.data.channels
    for topic, modes, remedy in _MODES:
        files = _files_of_modes(scan, modes)
        if files:
            yield Finding(
                "note", topic, f"{_count_items(files, 'image')} with {topic}", remedy, files
            )
    grey = _files_of_modes(scan, ("grey",))
    if grey and (channels != 1 or len(grey) < len(scan.pair_stats)):
        message, remedy = (
            f"{_count_items(grey, 'image')} stored as grey",
            f"their values are copied to {channels} {plural('channel', channels)}",
        )
        yield Finding("note", "grey", message, remedy, grey)
    deep = _matching_files(scan, lambda stats: stats.seen.stored.bits > 8)
    if deep and len(deep) < len(scan.pair_stats):
        message = f"{_count_items(deep, 'image')} with more than 8 bits per sample, others with 8"
        yield Finding("warning", "mixed depth", message, "save all with one depth", deep)
    turned = _matching_files(scan, lambda stats: stats.seen.stored.orientation != 1)
    if turned:
        message = f"{_count_items(turned, 'image')} rotated by their EXIF orientation"
        remedy = "their masks are rotated with them; check that they fit"
        yield Finding("note", "EXIF orientation", message, remedy, turned)


def _files_of_modes(scan: DatasetScan, modes: tuple[str, ...]) -> tuple[str, ...]:
    return _matching_files(scan, lambda stats: stats.seen.stored.mode in modes)


def _image_findings(scan: DatasetScan) -> Iterator[Finding]:
    border = _matching_files(scan, has_border)
    if border:
        message = f"{_count_items(border, 'image')} with a black border"
        yield Finding("note", "black border", message, "harness data clean crops it", border)
    for topic, files in (
        ("burnt-in text", _matching_files(scan, lambda stats: bool(stats.seen.text))),
        ("panels", _matching_files(scan, lambda stats: bool(stats.seen.panels))),
    ):
        if files:
            yield Finding(
                "note",
                topic,
                f"{_count_items(files, 'image')} that may contain {topic} (a guess; many are "
                "missed)",
                "a network may learn from it where an image was taken; "
                + (
                    "harness data clean --cover-text paints over what was found"
                    if topic == "burnt-in text"
                    else "crop it where you can"
                ),
                files,
            )


def _matching_files(scan: DatasetScan, predicate: Callable[[PairStats], bool]) -> tuple[str, ...]:
    pairs = scan.dataset.pairs
    return tuple(
        pair.image.as_posix()
        for pair, stats in zip(pairs, scan.pair_stats, strict=True)
        if predicate(stats)
    )


def _count_items(counted: Sequence[object], name: str) -> str:
    return f"{len(counted):,} {plural(name, len(counted))}"
