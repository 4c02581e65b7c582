"""Inspect a dataset: findings, statistics, proposed settings, and their page in one HTML file."""

import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from harness.config.data import NONZERO
from harness.core import files, html
from harness.core.text import count
from harness.data.datasets.pairs import SAMPLE_SEED
from harness.data.files.encode import data_uri
from harness.data.files.overlay import Colour
from harness.data.scan.near_duplicates import DuplicatePair
from harness.data.scan.scan import DatasetScan, PairStats
from harness.data.scan.size_ceiling import CeilingTable
from harness.inspection.ceiling_text import (
    CEILING_COLUMNS,
    ceiling_finding,
    ceiling_meaning,
    ceiling_rows,
)
from harness.inspection.findings import (
    INSTANCES,
    Finding,
    Severity,
    collect_findings,
    sort_by_severity,
)
from harness.inspection.pair_checks import is_empty, is_full
from harness.inspection.panels import InspectionGallery
from harness.inspection.proposal import as_yaml, propose_data_config


@dataclass(frozen=True)
class ClassShare:
    """Distribution of one class: its share of each image's pixels, 0 to 1, and its images."""

    name: str
    mean: float
    median: float
    least: float
    greatest: float
    n_images: int
    n_objects: int | None  # None for a background


@dataclass(frozen=True)
class DatasetStatistics:
    """Statistics of the usable pairs.

    Attributes:
        sizes: height, width and number of images of that size, most frequent first.
        stored: number of images by storage format, e.g. `JPEG RGB 8 bit`.
        mask_values: number of masks by kind of values.
    """

    n_pairs: int
    n_bad: int
    sizes: tuple[tuple[int, int, int], ...]
    shares: tuple[ClassShare, ...]
    stored: dict[str, int]
    mask_values: dict[str, int]
    n_empty: int
    n_full: int
    n_vanishing: int
    n_copies: int


@dataclass(frozen=True)
class InspectionReport:
    """Result of `harness data inspect`. `proposal` is a `data:` block to paste."""

    name: str
    statistics: DatasetStatistics
    findings: tuple[Finding, ...]
    proposal: str
    read_as: str  # the block used to read the data
    fits: bool  # True if the data was read with the proposal and a pair is usable
    sampled_from: int | None = None  # number of pairs that these are a sample of; None: all
    ceilings: CeilingTable | None = None  # of the training sizes; None: not measured

    @property
    def sample_text(self) -> str:
        """Remark on a sample, for the end of a sentence; "" if all pairs were read."""
        if self.sampled_from is None:
            return ""
        return f"; a random sample of {count(self.sampled_from, 'pair')} (seed {SAMPLE_SEED})"

    def count(self, severity: Severity) -> int:
        """Number of findings of a severity."""
        return sum(finding.severity == severity for finding in self.findings)

    def as_json(self) -> dict[str, Any]:
        """Convert to plain values for JSON."""
        # `asdict` copies a pydantic model as it is, and JSON cannot hold one.
        ceilings = None if self.ceilings is None else self.ceilings.model_dump(mode="json")
        return {"format": 1, **asdict(replace(self, ceilings=None)), "ceilings": ceilings}


def inspect_dataset(
    scan: DatasetScan,
    copies: Sequence[DuplicatePair],
    *,
    skip_bad: bool = False,
    declared: bool = False,
) -> InspectionReport:
    """Collect findings, statistics and a proposal from a scan.

    Args:
        copies: result of `duplicates_among` for the statistics of the scan.
        skip_bad: unusable pairs are left out on purpose.
        declared: a study declares the values: if the files fit, nothing else is proposed.
    """
    proposal = propose_data_config(scan, declared=declared)
    findings = collect_findings(scan, copies, skip_bad=skip_bad)
    if proposal.values == NONZERO != scan.dataset.data.values:
        findings = sort_by_severity([*findings, INSTANCES])
    return InspectionReport(
        name=scan.dataset.name,
        statistics=_statistics(scan, copies),
        findings=tuple(findings),
        proposal=as_yaml(proposal),
        read_as=as_yaml(scan.dataset.data),
        fits=proposal == scan.dataset.data and bool(scan.pair_stats),
        sampled_from=scan.dataset.sampled_from,
    )


def with_ceilings(inspection: InspectionReport, ceilings: CeilingTable) -> InspectionReport:
    """Add the best metrics at the training sizes, and a finding if the best size costs much."""
    finding = ceiling_finding(ceilings)
    findings = [*inspection.findings, *([] if finding is None else [finding])]
    return replace(inspection, ceilings=ceilings, findings=tuple(sort_by_severity(findings)))


def _statistics(scan: DatasetScan, copies: Sequence[DuplicatePair]) -> DatasetStatistics:
    pair_stats, task = scan.pair_stats, scan.dataset.data.task
    sizes = Counter(stats.size for stats in pair_stats).most_common()
    return DatasetStatistics(
        n_pairs=len(pair_stats),
        n_bad=len(scan.bad_pairs),
        sizes=tuple((height, width, n) for (height, width), n in sizes),
        shares=tuple(_class_shares(scan)) if pair_stats else (),
        stored=_count_by(pair_stats, _storage_label),
        mask_values=_count_by(pair_stats, lambda stats: stats.seen.mask.kind),
        n_empty=sum(is_empty(stats, task) for stats in pair_stats),
        n_full=sum(is_full(stats, task) for stats in pair_stats),
        n_vanishing=sum(stats.seen.n_vanishing for stats in pair_stats),
        n_copies=len(copies),
    )


def _class_shares(scan: DatasetScan) -> list[ClassShare]:
    data = scan.dataset.data
    shares = []
    for index, name in enumerate(data.classes):
        values = [stats.shares[index] for stats in scan.pair_stats]
        # Objects are counted for scored classes only: a background has no objects.
        scored = index in data.scored_classes
        position = data.scored_classes.index(index) if scored else 0
        n_objects = (
            sum(stats.seen.n_objects[position] for stats in scan.pair_stats) if scored else None
        )
        shares.append(
            ClassShare(
                name=name,
                mean=statistics.fmean(values),
                median=statistics.median(values),
                least=min(values),
                greatest=max(values),
                n_images=sum(value > 0 for value in values),
                n_objects=n_objects,
            )
        )
    return shares


def _storage_label(stats: PairStats) -> str:
    stored = stats.seen.stored
    return f"{stored.kind} {stored.mode} {stored.bits} bit"


def _count_by(pair_stats: Sequence[PairStats], key: Callable[[PairStats], str]) -> dict[str, int]:
    return dict(Counter(key(stats) for stats in pair_stats).most_common())


# The page loads nothing and runs no script; bars need inline style attributes.
POLICY: Final = (
    f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; {html.SELF_CONTAINED_POLICY}"
)


MOST_FILES: Final = 200  # named per finding; --json names all
_MOST_SIZES: Final = 12


def write_inspection_page(
    path: Path,
    inspection: InspectionReport,
    galleries: Sequence[InspectionGallery],
    *,
    legend: Sequence[tuple[str, Colour]] = (),
    sealed_text: str = "",
) -> None:
    """Write the page atomically; arguments as in `render_inspection_page`."""
    page = render_inspection_page(inspection, galleries, legend=legend, sealed_text=sealed_text)
    files.write_text(path, page)


def render_inspection_page(
    inspection: InspectionReport,
    galleries: Sequence[InspectionGallery],
    *,
    legend: Sequence[tuple[str, Colour]] = (),
    sealed_text: str = "",
) -> str:
    """Render the page. Names of files and classes are hostile text and are escaped.

    Args:
        legend: `outline_legend` of the data.
        sealed_text: `describe_sealed` of the scan.
    """
    numbers = inspection.statistics
    return html.render(
        "harness.inspection",
        {"data_uri": data_uri},
        name=inspection.name,
        policy=POLICY,
        inspection=inspection,
        headline=_headline(inspection),
        numbers=numbers,
        sizes=numbers.sizes[:_MOST_SIZES],
        n_more_sizes=len(numbers.sizes) - _MOST_SIZES,
        galleries=galleries,
        legend=[(name, "#{:02x}{:02x}{:02x}".format(*colour)) for name, colour in legend],
        sealed_text=sealed_text,
        **_ceiling_values(inspection.ceilings),
        most_files=MOST_FILES,
    )


def _ceiling_values(table: CeilingTable | None) -> dict[str, Any]:
    """Values of the template for the table of ceilings, which is left out without any."""
    if table is None or not table.ceilings:
        return {"ceiling_rows": []}
    return {
        "ceiling_columns": CEILING_COLUMNS,
        "ceiling_rows": ceiling_rows(table),
        "ceiling_meaning": ceiling_meaning(table),
    }


def _headline(inspection: InspectionReport) -> list[tuple[str, str]]:
    numbers = inspection.statistics
    return [
        ("pairs", f"{numbers.n_pairs:,}"),
        ("cannot be used", f"{numbers.n_bad:,}"),
        ("errors", str(inspection.count("error"))),
        ("warnings", str(inspection.count("warning"))),
        ("notes", str(inspection.count("note"))),
    ]
