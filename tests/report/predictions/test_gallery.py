from pathlib import Path

import cv2
import numpy as np
import pytest

from harness.core import files
from harness.core.errors import DataError
from harness.data.files.overlay import COLOURS
from harness.data.files.resize import resize_truth
from harness.data.splits.splits import SplitRow, write_split
from harness.report.predictions.gallery import build_gallery
from harness.report.tables.study_tables import StudyTables, load_study_tables
from harness.training.metrics.image_scores import (
    metrics_per_entry,
    read_scores,
    scores_from_entries,
    scores_to_entries,
    write_scores,
)
from tests.report.studies import Builder


def test_the_same_images_for_the_best_three_trials(tables: StudyTables, shared: Builder) -> None:
    gallery = build_gallery(tables, shared.data_root)
    assert gallery.notes == ()
    whys = [item.reason for item in gallery.images]
    # Of 8 images those at 0, 1 (7/5), 3 (14/5), 4 (21/5), 6 (28/5) and 7, as shares of 7.
    between = [f"better than {share} of the other images" for share in ("14%", "43%", "57%", "86%")]
    assert whys == ["worst", *between, "best", *["for variety of shape and size"] * 2]
    assert [item.row for item in gallery.strip] == [item.row for item in gallery.images[:6]]
    assert gallery.weights == "trial 3" and gallery.n_validation == 8
    for item in gallery.images:
        assert [p.score.number for p in item.predictions] == [3, 4, 6]
        assert [p.score.rank for p in item.predictions] == [1, 2, 3]
        assert [score.number for score in item.other_scores] == [0, 1]
    assert len({item.row for item in gallery.images}) == 8


def test_scores_are_those_of_scores_csv(tables: StudyTables, shared: Builder) -> None:
    scores = read_scores(shared.paths.trial(4).scores_csv)
    dice = dict(zip(scores.row.tolist(), metrics_per_entry(scores)["dice"].tolist(), strict=True))
    for item in build_gallery(tables, shared.data_root).images:
        assert item.predictions[1].score.dice == dice[item.row]


def test_images_are_ordered_by_the_dice_of_the_leading_trial(
    tables: StudyTables, shared: Builder
) -> None:
    scores = read_scores(shared.paths.trial(3).scores_csv)
    order = [
        row for _, row in sorted(zip(metrics_per_entry(scores)["dice"], scores.row, strict=True))
    ]
    shown = {
        item.reason: item.row for item in reversed(build_gallery(tables, shared.data_root).images)
    }
    assert shown["worst"] == order[0] and shown["best"] == order[-1]
    assert shown["better than 57% of the other images"] == order[4]


def test_overlay_and_masks_show_what_was_decided(study: Builder) -> None:
    """A prediction of the left half: hits where it meets the truth, misses right, alarms left."""
    study.trial(0, [0.5], skill=1.0)
    half = np.zeros((study.eval_size, study.eval_size), np.uint8)
    half[:, :8] = 128  # p >= 0.5 exactly from 128 on
    half[:, 8:16] = 127
    for row in study.rows[1:-1]:
        cv2.imwrite(str(study.paths.trial(0).probability(row.row, 1)), half)
    item = build_gallery(load_study_tables(study.paths), study.data_root).images[0]
    prediction = item.predictions[0]
    assert item.image.shape == (320, 320, 3) and item.truth.shape == (320, 320)
    assert prediction.mask[:, :80].all() and not prediction.mask[:, 80:].any()
    truth, said = item.truth > 0, prediction.mask > 0
    assert truth.any() and (said & ~truth).any() and (truth & ~said).any()
    untouched = ~truth & ~said
    assert (prediction.overlay[untouched] == item.image[untouched]).all()
    for name, region in {"miss": truth & ~said, "false alarm": said & ~truth}.items():
        found = {tuple(int(v) for v in colour) for colour in prediction.overlay[region]}
        assert COLOURS[name] in found


def test_probabilities_are_shown_from_dark_blue_to_yellow(study: Builder) -> None:
    """Left half 0, right half 255: the ends of Cividis as matplotlib publishes it."""
    study.trial(0, [0.5], skill=1.0)
    half = np.zeros((study.eval_size, study.eval_size), np.uint8)
    half[:, 16:] = 255
    for row in study.rows[1:-1]:
        cv2.imwrite(str(study.paths.trial(0).probability(row.row, 1)), half)
    probability = (
        build_gallery(load_study_tables(study.paths), study.data_root)
        .images[0]
        .predictions[0]
        .probability
    )
    assert probability is not None and probability.shape == (320, 320, 3)
    np.testing.assert_allclose(probability[0, 0], [0, 34, 78], atol=3)
    np.testing.assert_allclose(probability[0, -1], [254, 232, 56], atol=3)


def two_halves(study: Builder, number: int, columns: slice, exact_from: int | None = None) -> None:
    """A trial that decides for these columns of every validation image, with its true sums.

    From row `exact_from` on it decides exactly what the truth says.
    """
    study.trial(number, [0.5 + 0.01 * number], skill=0.5)
    paths, entries = study.paths.trial(number), []
    half = np.zeros((study.eval_size, study.eval_size), bool)
    half[:, columns] = True
    for row in study.rows[1:-1]:
        grey = cv2.imread(str(study.data_root / row.mask), cv2.IMREAD_GRAYSCALE)
        assert grey is not None
        y = resize_truth((grey > 127).astype(np.uint8), study.eval_size).astype(bool)
        said = half if exact_from is None or row.row < exact_from else y
        cv2.imwrite(str(paths.probability(row.row, 1)), 255 * said.astype(np.uint8))
        counts = [int(both.sum()) for both in (said & y, said & ~y, ~said & y, ~said & ~y)]
        sums = (float(counts[0]), float(said.sum()), float(y.sum()))
        entries.append((row.row, row.image, 1, *sums, *counts))
    write_scores(paths.scores_csv, scores_from_entries(entries))


def test_images_that_models_dispute_and_that_all_get_wrong_are_shown(study: Builder) -> None:
    """Left half against all: IoU 1/2 everywhere; against the two last columns all is wrong."""
    two_halves(study, 0, slice(0, 16))
    two_halves(study, 1, slice(0, 32))
    reasons = [
        why
        for item in build_gallery(load_study_tables(study.paths), study.data_root).images
        for why in (item.reason, *item.other_reasons)
    ]
    disputed = [why for why in reasons if "disagree" in why]
    assert disputed == ["the 2 leading models disagree: mean 1 − IoU between them 0.50"] * 2


@pytest.mark.parametrize("n_wrong", [3, 8])
def test_labels_that_good_models_contradict_are_suspect(study: Builder, n_wrong: int) -> None:
    """Exact but for the first images; models that are wrong about most of them accuse none."""
    for number in range(3):
        two_halves(study, number, slice(31 - number, 32), exact_from=1 + n_wrong)
    images = build_gallery(load_study_tables(study.paths), study.data_root).images
    wrong = [
        item
        for item in images
        if "all 3 models get it wrong" in (item.reason, *item.other_reasons)[-1]
    ]
    if n_wrong > 3:
        assert wrong == []
        return
    assert {item.row for item in wrong} == {1, 2, 3}
    best = max(p.score.dice or 0 for p in wrong[0].predictions)
    assert (wrong[0].reason, *wrong[0].other_reasons)[-1] == (
        f"suspect label: all 3 models get it wrong, the best with Dice {best:.2f}"
    )


def test_test_images_are_never_opened(study: Builder) -> None:
    """The test row's files are gone; a stray picture and score of it change nothing."""
    study.trial(0, [0.5], skill=0.8)
    for name in (study.rows[-1].image, study.rows[-1].mask):
        (study.data_root / name).unlink()
    paths = study.paths.trial(0)
    stray = paths.probability(study.rows[-1].row, 1)
    stray.write_bytes(paths.probability(1, 1).read_bytes())
    test = study.rows[-1]
    worst = (test.row, test.image, 1, 0.0, 9.0, 9.0, 0, 9, 9, 1006)
    entries = [*scores_to_entries(read_scores(paths.scores_csv)), worst]
    write_scores(paths.scores_csv, scores_from_entries(entries))
    gallery = build_gallery(load_study_tables(study.paths), study.data_root)
    assert gallery.notes == () and len(gallery.images) == 8
    assert study.rows[-1].row not in {item.row for item in gallery.images}


def test_missing_images_are_said(tables: StudyTables, tmp_path: Path) -> None:
    for root in (None, tmp_path / "gone"):
        gallery = build_gallery(tables, root)
        assert gallery.images == ()
        assert gallery.notes == ("The images of tiny were not found, so no image is shown.",)


def test_a_changed_image_is_said_and_the_others_are_shown(study: Builder) -> None:
    study.trial(0, [0.5], skill=0.8)
    name = study.rows[3].image
    cv2.imwrite(str(study.data_root / name), np.zeros((40, 50, 3), np.uint8))
    gallery = build_gallery(load_study_tables(study.paths), study.data_root)
    problem = "image or mask has changed since its hash was recorded; restore the file"
    assert gallery.notes == (f"Not shown: {name}: {problem}",)
    assert len(gallery.images) == 7


def test_a_probability_picture_of_another_size_is_said(study: Builder) -> None:
    study.trial(0, [0.5], skill=0.8)
    path = study.paths.trial(0).probability(2, 1)
    cv2.imwrite(str(path), np.zeros((16, 16), np.uint8))
    (note,) = build_gallery(load_study_tables(study.paths), study.data_root).notes
    assert note == f"Not shown: {path}: 16 x 16 pixels, not 32 square"


def test_trials_that_kept_nothing_are_said(study: Builder) -> None:
    study.trial(0, [0.5], skill=0.8)
    study.trial(1, [0.4])
    gallery = build_gallery(load_study_tables(study.paths), study.data_root)
    assert gallery.notes == ("Trial 1 has no saved predictions.",)
    assert [p.score.number for p in gallery.images[0].predictions] == [0]


def test_a_study_without_a_complete_trial_says_so(study: Builder) -> None:
    gallery = build_gallery(load_study_tables(study.paths), study.data_root)
    assert gallery.notes == ("No complete trial has saved predictions.",)


def test_the_largest_false_alarm_is_shown_where_nothing_is_to_be_found(study: Builder) -> None:
    """Images 2 and 4 are empty; the trial finds 3 pixels in the first and 9 in the second."""
    rows = []
    for row in study.rows:
        if row.row in (2, 4):
            cv2.imwrite(str(study.data_root / row.mask), np.zeros((40, 50), np.uint8))
            digest = files.file_sha256(study.data_root / row.mask)
            row = SplitRow(
                row.row, row.image, row.mask, row.role, row.group, row.image_sha256, digest
            )
        rows.append(row)
    study.rows = rows
    write_split(study.paths.split_csv, rows)
    study.trial(0, [0.5], skill=0.8)
    paths = study.paths.trial(0)
    entries = []
    for row in rows[1:-1]:
        alarm = {2: 3, 4: 9}.get(row.row, 0)
        found = (0, alarm, 0, 1024 - alarm) if alarm else (50, 5, 5, 964)
        sums = (0.0, 9.0, 0.0) if alarm else (50.0, 55.0, 55.0)
        entries.append((row.row, row.image, 1, *sums, *found))
    write_scores(paths.scores_csv, scores_from_entries(entries))
    shown = {
        item.row: item
        for item in build_gallery(load_study_tables(study.paths), study.data_root).images
    }
    assert shown[4].reason == "no foreground: the most false positive pixels"
    score = shown[4].predictions[0].score
    assert score.dice is None and score.false_pixels == 9 and score.text == "9 false pixels"
    assert 2 not in shown


def test_a_split_that_is_none_is_an_error(study: Builder) -> None:
    study.trial(0, [0.5], skill=0.8)
    study.paths.split_csv.write_text("image,mask\n")
    with pytest.raises(DataError, match=r"split\.csv:1: the columns must be"):
        build_gallery(load_study_tables(study.paths), study.data_root)


def test_an_imported_leader_is_shown_where_it_has_its_predictions(study: Builder) -> None:
    study.trial(0, [0.2], imported="old/7", skill=0.9)
    study.trial(1, [0.4], skill=0.5)
    gallery = build_gallery(load_study_tables(study.paths), study.data_root)
    assert gallery.notes == ()
    assert [p.score.number for p in gallery.images[0].predictions] == [0, 1]


def test_an_imported_leader_without_predictions_is_named(study: Builder) -> None:
    study.trial(0, [0.2], imported="old/7")
    study.trial(1, [0.4], skill=0.5)
    gallery = build_gallery(load_study_tables(study.paths), study.data_root)
    assert gallery.notes == ("Trial 0 (imported from old/7) has no saved predictions.",)
    assert [p.score.rank for p in gallery.images[0].predictions] == [2]
