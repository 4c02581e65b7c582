"""The inspection as one HTML file that needs nothing else, not even a network."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from harness.core import files, html
from harness.data.files.encode import data_uri
from harness.inspection.panels import InspectionGallery
from harness.inspection.report import InspectionReport

# Nothing may be fetched and no script runs: the page has none. Bars have style attributes.
POLICY: Final = (
    f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; {html.SELF_CONTAINED_POLICY}"
)
MOST_FILES: Final = 200  # named per finding; --json names all
_MOST_SIZES: Final = 12


def write_inspection_page(
    path: Path, inspection: InspectionReport, galleries: Sequence[InspectionGallery]
) -> None:
    """Write the page, whole or not at all."""
    files.write_text(path, render_inspection_page(inspection, galleries))


def render_inspection_page(
    inspection: InspectionReport, galleries: Sequence[InspectionGallery]
) -> str:
    """The whole page as text. Names of files and classes are hostile text and are escaped."""
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
        most_files=MOST_FILES,
    )


def _headline(inspection: InspectionReport) -> list[tuple[str, str]]:
    numbers = inspection.statistics
    return [
        ("pairs", f"{numbers.n_pairs:,}"),
        ("cannot be used", f"{numbers.n_bad:,}"),
        ("errors", str(inspection.count("error"))),
        ("warnings", str(inspection.count("warning"))),
        ("notes", str(inspection.count("note"))),
    ]
