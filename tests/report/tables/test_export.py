import json

import pytest

from harness.core import files
from harness.report.tables.export import (
    escape_latex,
    export_leaderboard,
    leaderboard_dict,
    objective_interval,
)
from harness.report.tables.study_tables import StudyTables, load_study_tables, write_trials_csv
from harness.training.metrics.image_scores import scores_from_entries, write_scores
from tests.report.studies import Builder


def test_json_holds_definition_ranking_and_every_trial(tables: StudyTables) -> None:
    found = json.loads(export_leaderboard(tables, "json"))
    assert found["study"] == "tiny" and found["ranking"] == [3, 4, 6, 0, 1]
    assert found["definition"]["objective"]["metric"] == "val/dice_loss"
    assert [trial["number"] for trial in found["trials"]] == list(range(8))
    assert found["trials"][3]["value"] == 0.1234567890123456
    assert found["intervals"] == {}  # 8 images are too few for any
    assert found["baseline"] is None and found["confirmation"] is None
    assert found["test_looks"] == []
    assert found["importances"]["named"] == []  # five trials tell nothing from chance
    assert found["importances"]["n_varied"] == 5


def test_csv_is_that_of_trials_csv(tables: StudyTables, shared: Builder) -> None:
    path = shared.root / "again.csv"
    write_trials_csv(tables, path)
    assert export_leaderboard(tables, "csv") == path.read_text(encoding="utf-8")


def test_intervals_come_with_fifty_images(study: Builder) -> None:
    record = study.trial(0, [0.5])
    entries = [
        (row, f"{row}.png", 1, 50.0 + row % 9, 100.0, 100.0, 60, 40, 40, 884) for row in range(60)
    ]
    write_scores(study.paths.trial(0).scores_csv, scores_from_entries(entries))
    tables = load_study_tables(study.paths)
    found = objective_interval(tables, record)
    assert found is not None and found.n == 60 and found.low < found.mean < found.high
    assert leaderboard_dict(tables)["intervals"]["0"]["mean"] == found.mean


def test_looks_at_test_images_are_told(study: Builder) -> None:
    files.append_jsonl(study.paths.root / "test-looks.jsonl", {"look": 1})
    assert leaderboard_dict(load_study_tables(study.paths))["test_looks"] == [{"look": 1}]


def test_latex_escapes_every_name(study: Builder) -> None:
    shape = {"name": "CategoricalDistribution", "attributes": {"choices": ["a_b & 50% \\input{x}"]}}
    study.trial(
        0,
        [0.25],
        {"model.options.note": "a_b & 50% \\input{x}"},
        distributions={"model.options.note": shape},
    )
    text = export_leaderboard(load_study_tables(study.paths), "latex")
    assert "\\toprule" in text and "\\begin{tabular}{rrrrrl}" in text
    assert r"a\_b \& 50\% \textbackslash{}input\{x\}" in text
    assert r"rank & trial & val/dice\_loss & val/dice & val/iou & model.options.note \\" in text
    assert "1 & 0 & 0.2500 & 0.7500 & 0.3750 & " in text


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("a\nb\x00%", r"a b\%"),
        ("~^<>|$#_&{}", r"\textasciitilde{}\textasciicircum{}\textless{}\textgreater{}\textbar{}"
         r"\$\#\_\&\{\}"),
        ("\\", r"\textbackslash{}"),
    ],
)  # fmt: skip
def test_latex_sets_text_as_it_stands(text: str, latex: str) -> None:
    assert escape_latex(text) == latex
