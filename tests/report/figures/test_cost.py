from harness.report.figures.cost import COSTS, cost_rows, draw_cost, groups_of, look_of
from harness.report.figures.style import Objective
from harness.report.tables import StudyTables, load_study
from tests.report.studies import Builder

LOSS = Objective("val/dice_loss", minimized=True)


def test_every_recorded_cost_stands_beside_quality(tables: StudyTables) -> None:
    found = cost_rows(tables)
    assert list(found) == list(COSTS)
    parameters = found["cost/parameters"]
    assert [(row.number, row.cost) for row in parameters][:2] == [(3, 4e6), (4, 5e6)]
    assert [row.group for row in parameters] == ["Unet", "Linknet", "Unet", "Unet", "Linknet"]


def test_one_architecture_is_grouped_by_encoder(study: Builder) -> None:
    for number, name in enumerate(["resnet18", "mobilenet_v2"]):
        study.trial(number, [0.5], {"model.arch": "Unet", "model.encoder_name": name})
    found = cost_rows(load_study(study.paths))
    assert groups_of(found) == ["mobilenet_v2", "resnet18"]


def test_without_either_there_are_no_groups(study: Builder) -> None:
    study.trial(0, [0.5], {"optim.lr": 1e-3})
    found = cost_rows(load_study(study.paths))
    assert groups_of(found) == [] and found["cost/seconds"][0].group == ""


def test_costs_that_nobody_recorded_are_left_out(study: Builder) -> None:
    study.trial(0, [0.5], costs={"cost/seconds": 3.0})
    assert list(cost_rows(load_study(study.paths))) == ["cost/seconds"]


def test_groups_keep_colour_and_symbol_in_every_figure(tables: StudyTables) -> None:
    found = cost_rows(tables)
    groups = groups_of(found)
    assert groups == ["Linknet", "Unet"] and look_of("Linknet", groups) != look_of("Unet", groups)
    for cost, rows in found.items():
        figure = draw_cost(rows, cost, groups, LOSS)
        colours = [look_of(row.group, groups)[0] for row in rows]
        assert list(figure.data[0].marker.color) == colours
    title = draw_cost(found["cost/peak_mb"], "cost/peak_mb", groups, LOSS).layout.xaxis.title.text
    assert title == "peak memory<br>(MB, lower is cheaper)"


def test_more_groups_than_colours_still_differ() -> None:
    groups = [str(i) for i in range(40)]
    assert len({look_of(group, groups) for group in groups}) == 40
