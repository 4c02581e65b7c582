import numpy as np
import pytest

from harness.report.analysis.importance import importance_shares
from harness.report.figures.contour import (
    contour_section,
    draw_contour,
    interpolate_surface,
    numeric_axes,
)
from harness.report.figures.section import FigureSection
from harness.report.figures.style import ObjectiveLabel
from harness.report.tables.downsample import TrialSubset
from harness.report.tables.study_tables import StudyTables, load_study_tables
from tests.report.studies import Builder

ALL = TrialSubset(range(99), "")
LOSS = ObjectiveLabel("val/dice_loss", minimized=True)


def plane(study: Builder, n: int = 24) -> StudyTables:
    """A loss that is linear in log10 of the rate and in the weight: 0.2 + 0.1 a + 0.05 b."""
    rng = np.random.default_rng(0)
    for number, (a, b) in enumerate(rng.uniform(size=(n, 2)).tolist()):
        params = {"optim.lr": 10 ** (-5 + 3 * a), "loss.dice": b, "model.arch": "Unet"}
        study.trial(number, [0.2 + 0.1 * a + 0.05 * b], params)
    return load_study_tables(study.paths)


def section_of(tables: StudyTables) -> FigureSection:
    return contour_section(tables, LOSS, ALL, list(importance_shares(tables)))


def test_a_plane_comes_back_as_a_plane(study: Builder) -> None:
    tables = plane(study)
    axes = numeric_axes(tables, list(importance_shares(tables)))
    assert {axis.key for axis in axes} == {"optim.lr", "loss.dice"}
    rate, weight = sorted(axes, key=lambda axis: axis.key, reverse=True)
    found = interpolate_surface(tables, rate, weight)
    assert found is not None
    a = (np.log10(found.grid_x) + 5) / 3
    wanted = 0.2 + 0.1 * a[None, :] + 0.05 * found.grid_y[:, None]
    inside = ~np.isnan(found.grid)
    assert 0.3 < inside.mean() < 1.0  # outside the hull of the trials nothing is claimed
    assert found.grid[inside] == pytest.approx(wanted[inside])


def test_the_trials_lie_above_the_surface_and_axes_are_named(study: Builder) -> None:
    tables = plane(study)
    rate, weight = sorted(
        numeric_axes(tables, list(importance_shares(tables))),
        key=lambda axis: axis.key,
        reverse=True,
    )
    found = interpolate_surface(tables, rate, weight)
    assert found is not None
    figure = draw_contour(found, LOSS)
    assert [trace.type for trace in figure.data] == ["contour", "scatter"]
    assert (figure.layout.xaxis.type, figure.layout.yaxis.type) == ("log", None)
    assert figure.layout.xaxis.title.text == "optim.lr"
    points = figure.data[1]
    assert points.hovertext[0].startswith(f"trial {points.customdata[0]} (complete)")


def test_too_few_trials_say_how_many(study: Builder) -> None:
    found = contour_section(plane(study, 8), LOSS, ALL, ["optim.lr", "loss.dice"])
    assert found.empty.startswith("Needs 10 complete trials with ")
    assert found.empty.endswith("; this study has 8.")


def test_one_numeric_parameter_is_not_enough(study: Builder) -> None:
    for number in range(12):
        study.trial(number, [0.5 - 0.01 * number], {"optim.lr": 1e-5 * (number + 1)})
    assert section_of(load_study_tables(study.paths)).empty == (
        "Needs two numeric parameters with an importance above chance; found one in 12 "
        "complete trials."
    )


def test_trials_on_one_line_have_no_area(study: Builder) -> None:
    for number in range(12):
        share = (number + 1) / 12
        study.trial(number, [0.5 - 0.1 * share], {"loss.dice": share, "loss.bce": share})
    found = contour_section(load_study_tables(study.paths), LOSS, ALL, ["loss.dice", "loss.bce"])
    assert found.empty.endswith("lie on one line, with no area between them.")
