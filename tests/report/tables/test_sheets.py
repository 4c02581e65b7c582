from harness.core.records import TrialFailure, read_record, write_record
from harness.report.tables.sheet_cells import UNRECORDED_CELL
from harness.report.tables.sheets import failed_sheet, ranking_sheet, unranked_sheet
from harness.report.tables.study_tables import StudyTables, load_study_tables
from tests.report.studies import Builder


def test_ranking_sheet_shows_rounded_and_keeps_exact(tables: StudyTables) -> None:
    sheet = ranking_sheet(tables)
    titles = [column.title for column in sheet.columns]
    assert titles == [
        "rank",
        "trial",
        "val/dice_loss",
        "curve",
        "val/dice",
        "val/iou",
        "arch",
        "encoder_name",
        "encoder_depth",
        "optim.lr",
        "decoder_attention_type",
        "best epoch",
        "parameters",
        "GFLOP",
        "time",
        "memory",
        "ms / image",
    ]
    first = dict(zip(titles, sheet.rows[0], strict=True))
    assert first["trial"].text == "3"
    assert first["val/dice_loss"].text == "0.1235"
    assert first["val/dice_loss"].exact == first["val/dice_loss"].order == "0.1234567890123456"
    assert first["best epoch"].text == "4 / 4"
    assert first["parameters"].text == "4.00 M"
    assert [row[1].text for row in sheet.rows] == ["3", "4", "6", "0", "1"]
    assert sheet.numbers == (3, 4, 6, 0, 1)


def test_curves_are_drawn_on_one_scale(tables: StudyTables) -> None:
    sheet = ranking_sheet(tables)
    place = [column.title for column in sheet.columns].index("curve")
    best, last = sheet.rows[0][place], sheet.rows[-1][place]
    assert best.text == "val/dice_loss from 0.5000 to 0.1235 in 4 epochs"
    points = [tuple(map(float, point.split(","))) for point in best.points.split()]
    assert [x for x, _ in points] == [1.0, 33.7, 66.3, 99.0]
    # The lowest value of all is at the bottom, y = 22; a higher loss is higher up.
    assert points[-1][1] == 22.0 and points[0][1] < points[1][1] < points[2][1]
    assert float(last.points.split()[-1].split(",")[1]) < 22.0


def test_energy_has_a_column_where_a_trial_has_it(study: Builder) -> None:
    for number in range(2):
        study.trial(number, [0.5 + number / 10], {"optim.lr": 1e-3})
    paths = study.paths.trial(0)
    record = read_record(paths.trial_json)
    costs = record.costs | {"cost/energy_wh": 1234.5}
    write_record(paths, record.model_copy(update={"costs": costs}))
    tables = load_study_tables(study.paths)
    sheet = ranking_sheet(tables)
    assert sheet.columns[-1].title == "energy"
    assert [row[-1].text for row in sheet.rows] == ["1,234 Wh", UNRECORDED_CELL.text]
    assert tables.trials["cost/energy_wh"].dropna().tolist() == [1234.5]


def test_a_parameter_not_in_force_differs_from_null(tables: StudyTables) -> None:
    sheet = ranking_sheet(tables)
    place = [column.title for column in sheet.columns].index("decoder_attention_type")
    assert [row[place].text for row in sheet.rows] == ["scse", "–", "null", "null", "–"]
    assert (
        sheet.rows[1][place].order == ""
        and sheet.rows[1][place].exact == "not active in this trial"
    )


def test_numbers_and_names_are_told_apart(tables: StudyTables) -> None:
    kinds = {column.title: column.kind for column in ranking_sheet(tables).columns}
    assert kinds["optim.lr"] == "number" and kinds["arch"] == ""


def test_pruned_trials_have_a_sheet_without_ranks(tables: StudyTables) -> None:
    sheet = unranked_sheet(tables, "pruned")
    assert "rank" not in [column.title for column in sheet.columns]
    assert [[cell.text for cell in row[:3]] for row in sheet.rows] == [
        ["2", "2 / 4", "0.8900"],
        ["7", "1 / 4", "0.9200"],
    ]


def test_a_running_trial_without_an_epoch_has_an_empty_value(study: Builder) -> None:
    study.trial(0, [], state="running")
    (row,) = unranked_sheet(load_study_tables(study.paths), "running").rows
    assert [cell.text for cell in row] == ["0", "0 / 4", "", ""]


def test_failed_sheet_shows_cause_and_message(study: Builder) -> None:
    failure = TrialFailure(cause="out_of_memory", message="x" * 500)
    study.trial(0, [], {"optim.lr": 1e-3}, state="failed", failure=failure)
    sheet = failed_sheet(load_study_tables(study.paths))
    number, cause, message, rate = sheet.rows[0]
    assert (number.text, cause.text, rate.text) == ("0", "out_of_memory", "0.001")
    assert len(message.text) == 300 and message.text.endswith("…") and len(message.exact) == 500


def test_empty_sheets_have_columns_and_no_rows(study: Builder) -> None:
    tables = load_study_tables(study.paths)
    for sheet in (ranking_sheet(tables), failed_sheet(tables), unranked_sheet(tables, "pruned")):
        assert sheet.columns and not sheet.rows
