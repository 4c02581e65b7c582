"""The files of a learning-rate range test: the curve as a page, its points, its configuration."""

import csv
import io
from collections.abc import Mapping, Sequence

from harness.core import files, strict_yaml
from harness.core.paths import LrFindPaths
from harness.report.figures.lr_test import LrTestPoint, draw_lr_test
from harness.report.figures.standalone import figure_page

POINT_COLUMNS = ("step", "lr", "loss", "smoothed")


def write_lr_test(
    paths: LrFindPaths,
    points: Sequence[LrTestPoint],
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
    files.write_text(paths.config_yaml, strict_yaml.dump_yaml(dict(settings)))
    files.write_text(paths.points_csv, points_csv(points))
    page = figure_page("Learning-rate range test", facts, draw_lr_test(points, marks))
    files.write_text(paths.page, page)


def points_csv(points: Sequence[LrTestPoint]) -> str:
    """The points as CSV, every number as it was computed."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(POINT_COLUMNS)
    rows.writerows(points)
    return text.getvalue()
