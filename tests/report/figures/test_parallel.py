import pytest

from harness.report.figures.parallel import MAX_BANDS, draw_parallel, parallel_lines
from harness.report.figures.style import ObjectiveLabel
from harness.report.tables.study_tables import StudyTables, load_study_tables
from tests.report.studies import Builder

LOSS = ObjectiveLabel("val/dice_loss", minimized=True)


def test_lines_are_the_complete_trials_best_first(tables: StudyTables) -> None:
    axes, lines = parallel_lines(tables)
    assert [axis.key for axis in axes] == [*tables.parameters, "val/dice_loss"]
    assert [line.number for line in lines] == [3, 4, 6, 0, 1]
    assert lines[0].positions[-1] == 0.0 and lines[-1].positions[-1] == 1.0
    assert lines[0].positions[2] == 1.0  # depth 5 of 3 to 5
    assert lines[1].positions[4] is None and lines[1].texts[4] == "not active"


def test_a_parameter_that_never_varied_has_no_axis(study: Builder) -> None:
    for number, rate in enumerate([1e-3, 1e-4]):
        study.trial(number, [0.1 * number], {"optim.lr": rate, "model.encoder_depth": 5})
    axes, _ = parallel_lines(load_study_tables(study.paths))
    assert [axis.key for axis in axes] == ["optim.lr", "val/dice_loss"]


def test_one_trial_is_nothing_to_compare(study: Builder) -> None:
    study.trial(0, [0.5], {"optim.lr": 1e-3})
    assert parallel_lines(load_study_tables(study.paths)) == ([], [])


def test_figure_draws_every_line_and_names_every_axis(tables: StudyTables) -> None:
    axes, lines = parallel_lines(tables)
    figure = draw_parallel(axes, lines, LOSS)
    drawn = [trace for trace in figure.data if trace.mode == "lines+markers"]
    assert len(drawn) == 5 and drawn[-1].line.color == "rgb(224,142,0)"  # the best on top
    assert tuple(drawn[-1].y)[-1] is None and len(drawn[-1].x) == len(axes) + 1
    titles = [note.text for note in figure.layout.annotations if "<b>" in note.text]
    assert titles[0] == "model.<br><b>arch</b>"
    assert titles[-1] == "lower is better<br><b>val/dice_loss</b>"


@pytest.mark.parametrize("n", [2, 9, 37])
def test_many_lines_share_few_traces_and_none_is_lost(study: Builder, n: int) -> None:
    for number in range(n):
        study.trial(number, [0.5 + number / 100], {"optim.lr": 1e-5 * (number + 1)})
    axes, lines = parallel_lines(load_study_tables(study.paths))
    figure = draw_parallel(axes, lines, LOSS)
    assert len(figure.data) == min(MAX_BANDS, n)
    assert sum(x is None for trace in figure.data for x in trace.x) == n
