"""The files of a learning-rate range test: the curve as a page, its points, its configuration."""

import csv
import io
from collections.abc import Mapping, Sequence

from harness import files, strict_yaml
from harness.paths import RatesPaths
from harness.report.figures.alone import figure_page
from harness.report.figures.rates import Point, draw_rates

COLUMNS = ("step", "lr", "loss", "smoothed")


def write_rates(
    paths: RatesPaths,
    points: Sequence[Point],
    marks: Mapping[str, float],
    facts: Sequence[str],
    settings: Mapping[str, object],
) -> None:
    """Write curve.html, points.csv and config.yaml, each whole or not at all.

    Args:
        marks: rates that the figure points out, by name.
        facts: what stands above the figure, a line each.
        settings: the trial configuration, nested.
    """
    files.write_text(paths.config_yaml, strict_yaml.dump(dict(settings)))
    files.write_text(paths.points_csv, points_csv(points))
    page = figure_page("Learning-rate range test", facts, draw_rates(points, marks))
    files.write_text(paths.page, page)


def points_csv(points: Sequence[Point]) -> str:
    """The points as CSV, every number as it was computed."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    rows.writerows(points)
    return text.getvalue()
