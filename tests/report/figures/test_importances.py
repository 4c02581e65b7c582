from harness.report.figures.importances import ImportanceRow, draw_importances, importance_rows
from harness.report.importance import importances
from harness.report.tables import StudyTables


def test_rows_say_in_how_many_trials_a_parameter_was_in_force(tables: StudyTables) -> None:
    rows = {row.key: row for row in importance_rows(tables)}
    assert {key: row.share for key, row in rows.items()} == importances(tables)
    assert rows["optim.lr"].in_force == rows["optim.lr"].complete == 5
    assert rows["model.options.decoder_attention_type"].in_force == 3


def test_bars_are_labelled_and_the_largest_is_on_top() -> None:
    rows = [ImportanceRow("optim.lr", 0.75, 9, 9), ImportanceRow("model.<b>", 0.25, 4, 9)]
    figure = draw_importances(rows)
    assert tuple(figure.data[0].x) == (0.75, 0.25)
    assert tuple(figure.layout.yaxis.ticktext) == ("optim.lr", "model.&lt;b&gt; (4 of 9)")
    assert figure.layout.yaxis.autorange == "reversed"
    assert figure.layout.xaxis.title.text == "share (no unit; all add up to 1)"
