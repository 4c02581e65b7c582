from harness.report.figures.curves import draw_learning_curves, learning_curves
from harness.report.tables.study_tables import StudyTables, load_study_tables
from tests.report.studies import Builder


def test_every_trial_has_a_curve_and_the_leading_come_last(tables: StudyTables) -> None:
    curves = learning_curves(tables, "val/dice_loss")
    assert [curve.number for curve in curves] == [0, 1, 2, 5, 7, 6, 4, 3]
    assert [curve.rank for curve in curves][-3:] == [3, 2, 1]
    assert curves[-1].epochs == (1, 2, 3, 4)
    assert curves[-1].values == (0.5, 0.3, 0.2, 0.1234567890123456)


def test_a_metric_that_nobody_logged_has_no_curves(tables: StudyTables) -> None:
    assert learning_curves(tables, "val/false_alarm_share") == []


def test_curves_of_one_state_share_a_trace_with_gaps(tables: StudyTables) -> None:
    figure = draw_learning_curves(
        learning_curves(tables, "val/dice_loss"), "val/dice_loss", "a title"
    )
    traces = {trace.name: trace for trace in figure.data if trace.name}
    assert list(traces) == [
        "other complete",
        "pruned",
        "failed",
        "trial 6 (rank 3)",
        "trial 4 (rank 2)",
        "trial 3 (rank 1)",
    ]
    assert tuple(traces["other complete"].x) == (1, 2, 3, 4, None, 1, 2, 3, 4, None)
    assert tuple(traces["pruned"].y) == (0.9, 0.89, None, 0.92, None)
    ends = next(trace for trace in figure.data if trace.marker.symbol == "x")
    assert tuple(zip(ends.x, ends.y, strict=True)) == ((2, 0.89), (1, 0.92))
    assert (figure.layout.xaxis.title.text, figure.layout.yaxis.title.text) == ("epoch", "a title")


def test_a_single_epoch_is_a_point(study: Builder) -> None:
    study.trial(0, [0.5], state="running")
    curves = learning_curves(load_study_tables(study.paths), "val/dice_loss")
    (running,) = [t for t in draw_learning_curves(curves, "m", "m").data if t.name == "running"]
    assert running.mode == "lines+markers"
