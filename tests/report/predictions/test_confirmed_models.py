import shutil
from pathlib import Path

from harness.report.predictions.gallery import build_gallery
from harness.report.predictions.saved_predictions import load_confirmed_models
from harness.report.tables.study_tables import load_study_tables
from harness.training.metrics.image_scores import metrics_per_entry, read_scores
from tests.report.confirmed import confirmed_study


def test_the_weights_of_the_choice_come_first(tmp_path: Path) -> None:
    study, confirmation = confirmed_study(tmp_path)
    models, notes = load_confirmed_models(load_study_tables(study.paths), confirmation)
    assert notes == []
    assert [(model.number, model.rank, model.name) for model in models] == [
        (1, 1, "trial 1, seed 1"),  # loss 0.19, against 0.20 of seed 0
        (0, 2, "trial 0, seed 0"),
    ]


def test_pictures_and_scores_are_those_of_the_confirmed_weights(tmp_path: Path) -> None:
    study, confirmation = confirmed_study(tmp_path)
    weights = confirmation.weights
    assert weights is not None
    gallery = build_gallery(load_study_tables(study.paths), study.data_root, confirmation)
    scores = read_scores(study.paths.confirm.trial(weights.number).scores_csv)
    dice = dict(zip(scores.row.tolist(), metrics_per_entry(scores)["dice"].tolist(), strict=True))
    assert gallery.notes == () and gallery.weights == "trial 1, seed 1"
    for item in gallery.images:
        assert item.predictions[0].score.dice == dice[item.row]
        assert [p.score.number for p in item.predictions] == [1, 0]


def test_without_predictions_of_the_choice_no_other_weights_are_shown(tmp_path: Path) -> None:
    study, confirmation = confirmed_study(tmp_path)
    weights = confirmation.weights
    assert weights is not None
    shutil.rmtree(study.paths.confirm.trial(weights.number).probabilities)
    gallery = build_gallery(load_study_tables(study.paths), study.data_root, confirmation)
    assert gallery.images == ()
    assert gallery.notes == ("The confirmed weights of trial 1 have no saved predictions.",)
