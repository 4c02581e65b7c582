import numpy as np

from harness.config.measurements import COSTS
from harness.report.figures.cost import (
    CostRow,
    cost_groups,
    cost_rows,
    draw_cost,
    labelled,
    pareto_front,
    style_of,
)
from harness.report.figures.style import ObjectiveLabel
from harness.report.tables.study_tables import StudyTables, load_study_tables
from tests.report.studies import Builder

LOSS = ObjectiveLabel("val/dice_loss", minimized=True)


def test_every_recorded_cost_stands_beside_quality(tables: StudyTables) -> None:
    found = cost_rows(tables)
    assert [*found, "cost/energy_wh"] == list(COSTS), "a cost that no trial has is left out"
    parameters = found["cost/parameters"]
    assert [(row.number, row.cost) for row in parameters][:2] == [(3, 4e6), (4, 5e6)]
    assert [row.group for row in parameters] == ["Unet", "Linknet", "Unet", "Unet", "Linknet"]


def test_one_architecture_is_grouped_by_encoder(study: Builder) -> None:
    for number, name in enumerate(["resnet18", "mobilenet_v2"]):
        study.trial(number, [0.5], {"model.arch": "Unet", "model.encoder_name": name})
    found = cost_rows(load_study_tables(study.paths))
    assert cost_groups(found) == ["mobilenet_v2", "resnet18"]


def test_without_either_there_are_no_groups(study: Builder) -> None:
    study.trial(0, [0.5], {"optim.lr": 1e-3})
    found = cost_rows(load_study_tables(study.paths))
    assert cost_groups(found) == [] and found["cost/seconds"][0].group == ""


def test_costs_that_nobody_recorded_are_left_out(study: Builder) -> None:
    study.trial(0, [0.5], costs={"cost/seconds": 3.0})
    assert list(cost_rows(load_study_tables(study.paths))) == ["cost/seconds"]


def test_groups_keep_colour_and_symbol_in_every_figure(tables: StudyTables) -> None:
    found = cost_rows(tables)
    groups = cost_groups(found)
    assert groups == ["Linknet", "Unet"] and style_of("Linknet", groups) != style_of("Unet", groups)
    for cost, rows in found.items():
        figure = draw_cost(rows, cost, groups, LOSS)
        colours = [style_of(row.group, groups)[0] for row in rows]
        assert list(figure.data[1].marker.color) == colours
    title = draw_cost(found["cost/peak_mb"], "cost/peak_mb", groups, LOSS).layout.xaxis.title.text
    assert title == "peak memory<br>(MB, lower is cheaper)"


def test_more_groups_than_colours_still_differ() -> None:
    groups = [str(i) for i in range(40)]
    assert len({style_of(group, groups) for group in groups}) == 40


def _points(*points: tuple[float, float]) -> list[CostRow]:
    return [CostRow(i, cost, value, "") for i, (cost, value) in enumerate(points)]


def test_the_front_holds_what_nothing_betters() -> None:
    """Of five, 1 is dearer and worse than 0, 3 as dear as 2 and worse, 5 worse than all before."""
    rows = _points((1, 0.5), (2, 0.6), (3, 0.3), (3, 0.4), (4, 0.2), (9, 0.21), (4, 0.2))
    assert [row.number for row in pareto_front(rows, minimized=True)] == [0, 2, 4, 6]
    assert [row.number for row in pareto_front(rows, minimized=False)] == [0, 1]


def test_a_front_is_that_of_the_obvious_comparison() -> None:
    rng = np.random.default_rng(0)
    rows = _points(*rng.integers(0, 12, (60, 2)).astype(float).tolist())

    def bettered(row: CostRow) -> bool:
        return any(
            other.cost <= row.cost
            and other.value <= row.value
            and (other.cost, other.value) != (row.cost, row.value)
            for other in rows
        )

    wanted = {row.number for row in rows if not bettered(row)}
    assert {row.number for row in pareto_front(rows, minimized=True)} == wanted


def test_trials_of_the_front_are_named_and_points_know_their_trials(tables: StudyTables) -> None:
    rows = cost_rows(tables)["cost/parameters"]
    figure = draw_cost(rows, "cost/parameters", cost_groups({"c": rows}), LOSS)
    line, points = figure.data
    assert tuple(line.text) == ("#0", "#3")  # 1 is worse than 0, 4 and 6 worse than 3
    assert list(points.customdata) == [3, 4, 6, 0, 1]


def test_of_a_long_front_some_are_named_with_both_ends() -> None:
    rows = _points(*((float(i), 1.0 - 0.01 * i) for i in range(30)))
    best = pareto_front(rows, minimized=True)
    assert len(best) == 30
    assert [row.number for row in labelled(best)] == [0, 4, 8, 12, 16, 20, 24, 29]
