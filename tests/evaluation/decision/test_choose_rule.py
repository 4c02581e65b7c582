"""Threshold and clean-up chosen together, from probabilities that are given."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.config.data import IGNORE_INDEX, StudyDataConfig
from harness.config.decision_rule import DecisionRule
from harness.data.files import object_labels
from harness.data.files.decide import decide_mask
from harness.data.splits.split_file import SplitRow
from harness.evaluation.decision.choose_rule import choose_rule
from harness.evaluation.decision.plane_store import PlaneStore
from harness.evaluation.decision.step_effects import cumulative_rules
from harness.evaluation.held_out.images import EvaluationImages
from harness.evaluation.held_out.predicted_image import PredictedBand, PredictedImage
from harness.evaluation.held_out.results import compute_results, measure_steps
from harness.evaluation.held_out.scores import (
    CLEANED_COLUMNS,
    cleaned_columns,
    collect_scores,
    extra_columns,
    iter_class_planes,
    make_entry,
)
from harness.training.metrics.image_scores import ImageScores

N = 60
BINARY = StudyDataConfig()
TAGS = StudyDataConfig(task="multilabel", classes=("disc", "bar"))
THREE = StudyDataConfig(task="multiclass", classes=("ground", "disc", "bar"), ignore_index=255)
Pair = tuple[NDArray[np.float32], NDArray[np.uint8]]


class GivenPredictions:
    """An evaluator whose probabilities and masks are given; it counts its predictions."""

    def __init__(self, pairs: Mapping[int, Pair], cuts: Sequence[int] = ()) -> None:
        self.pairs, self.cuts = pairs, cuts
        self.predicted: list[int] = []

    def predict_groups(self, groups: Any, text: str) -> Iterator[tuple[SplitRow, PredictedImage]]:
        for _, images in groups:
            for row in images.rows:
                self.predicted.append(row.row)
                p, mask = self.pairs[row.row]
                parts = np.split(np.arange(mask.shape[0]), self.cuts)
                bands = [slice(int(rows[0]), int(rows[-1]) + 1) for rows in parts]
                yield (
                    row,
                    PredictedImage(
                        (mask.shape[0], mask.shape[1]),
                        iter([PredictedBand(rows, p[:, rows], mask[rows]) for rows in bands]),
                    ),
                )


def groups_of(pairs: Mapping[int, Pair], data: StudyDataConfig) -> Any:
    """Two folds, as of an ensemble whose members were validated on different images."""
    rows = [SplitRow(row, f"{row}.png", f"{row}.png", "val", str(row), "", "") for row in pairs]
    halves = rows[: len(rows) // 2], rows[len(rows) // 2 :]
    return [
        ((fold,), EvaluationImages("val", Path(), tuple(half), data, 1.0))
        for fold, half in enumerate(halves)
    ]


def disc(side: int = 14, y: int = 4, x: int = 4) -> NDArray[np.bool_]:
    plane = np.zeros((48, 48), np.bool_)
    plane[y : y + side, x : x + side] = True
    return plane


def binary_pairs(*, speck: float, truth: float = 0.62, halo: float = 0.55) -> dict[int, Pair]:
    """Discs at p = `truth` with a halo below it; a speck of 9 px at p = `speck` in each image."""
    pairs = {}
    for row in range(N):
        y = disc(12 + row % 4) | disc(8, 30, 4)
        p = np.where(disc(18 + row % 4, 2, 2), halo, 0.1)
        p[y] = truth
        p[disc(3, 30, 30)] = speck
        pairs[row] = (p[None].astype(np.float32), y.astype(np.uint8))
    return pairs


def scores_of(pairs: Mapping[int, Pair], rule: DecisionRule, data: StudyDataConfig) -> ImageScores:
    """Scores as `harness test` makes them."""
    thresholds = {
        index: entry.threshold
        for index, entry in zip(data.scored_classes, rule.classes, strict=True)
        if entry.threshold is not None
    }
    entries, extra = [], []
    for row, (p, mask) in pairs.items():
        cleaned = cleaned_columns(p, mask, rule, data)
        for plane, columns in zip(iter_class_planes(p, mask, data), cleaned, strict=True):
            entries.append(make_entry(row, str(row), plane))
            extra.append(extra_columns(plane, (48, 48), thresholds or None) | columns)
    return collect_scores(entries, extra)


def test_the_threshold_comes_first_then_the_clean_up() -> None:
    """0.56 to 0.62 separate halo and disc, 0.56 is nearest to 0.5; the speck has p = 0.9."""
    pairs = binary_pairs(speck=0.9)
    evaluator = GivenPredictions(pairs)
    rule, effects = choose_rule(evaluator, groups_of(pairs, BINARY), BINARY)  # type: ignore[arg-type]
    (entry,) = rule.classes
    assert (entry.threshold, entry.min_size) == (0.56, 16)
    assert not entry.fill_holes and not entry.largest_only
    assert [(e.step, e.is_kept) for e in effects] == [("fill_holes", False), ("min_size", True)]
    assert effects[1].after == 1.0 and effects[1].n == N
    assert sorted(evaluator.predicted) == list(range(N)), "each image is predicted once"


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_bands_give_the_rule_of_whole_images(task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs, data = (
        (binary_pairs(speck=0.9), BINARY) if task == "binary" else (multiclass_pairs(), THREE)
    )
    groups = groups_of(pairs, data)
    expected = choose_rule(GivenPredictions(pairs), groups, data)  # type: ignore[arg-type]
    monkeypatch.setattr(object_labels, "BAND_PIXELS", 400)
    assert choose_rule(GivenPredictions(pairs, (5, 6, 31)), groups, data) == expected  # type: ignore[arg-type]
    assert expected[0].cleans


def test_specks_below_the_threshold_choose_nothing() -> None:
    pairs = binary_pairs(speck=0.4)
    rule, effects = choose_rule(GivenPredictions(pairs), groups_of(pairs, BINARY), BINARY)  # type: ignore[arg-type]
    assert not rule.cleans
    assert {effect.gain for effect in effects} == {0.0}


@pytest.mark.parametrize("max_bytes", [0, 2000])
def test_images_that_do_not_fit_are_predicted_again(max_bytes: int) -> None:
    pairs = binary_pairs(speck=0.9)
    evaluator, groups = GivenPredictions(pairs), groups_of(pairs, BINARY)
    store = PlaneStore(max_bytes)
    rule, effects = choose_rule(evaluator, groups, BINARY, store)  # type: ignore[arg-type]
    n_stored = sum(row in store for row in pairs)
    assert len(evaluator.predicted) == 2 * N - n_stored
    assert (n_stored == 0) == (max_bytes == 0) and n_stored < N
    expected = choose_rule(GivenPredictions(pairs), groups, BINARY)  # type: ignore[arg-type]
    assert rule == expected[0]
    assert [e.gain for e in effects] == [e.gain for e in expected[1]]


def test_a_full_store_keeps_what_it_has() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (3, 20, 30), np.uint8)
    store = PlaneStore(2500)
    store.add(4, noise)
    store.add(5, noise)
    store.add(6, np.zeros((3, 20, 30), np.uint8))
    assert np.array_equal(store.get(4), noise)
    assert (5 in store, 6 in store) == (False, True)
    assert store.get(6).shape == (3, 20, 30)


def test_ignored_pixels_count_in_no_step() -> None:
    """The specks lie in ignored pixels, so removing them gains nothing."""
    pairs = {}
    for row, (p, mask) in binary_pairs(speck=0.9).items():
        ignored = mask.copy()
        ignored[disc(3, 30, 30)] = IGNORE_INDEX
        pairs[row] = (p, ignored)
    pairs[N] = (pairs[0][0], np.full((48, 48), IGNORE_INDEX, np.uint8))
    rule, effects = choose_rule(GivenPredictions(pairs), groups_of(pairs, BINARY), BINARY)  # type: ignore[arg-type]
    assert not rule.cleans
    assert {effect.n for effect in effects} == {N}, "an image of ignored pixels shows nothing"


def test_each_class_of_a_multilabel_task_gets_its_own_steps() -> None:
    """Specks in the planes of the first class, holes in those of the second."""
    pairs = {}
    for row, (p, mask) in binary_pairs(speck=0.9).items():
        bar = disc(20, 20, 20)
        holed = np.where(bar & ~disc(4, 26, 26), 0.7, 0.1).astype(np.float32)
        pairs[row] = (np.stack([p[0], holed]), np.stack([mask, bar.astype(np.uint8)], axis=2))
    rule, effects = choose_rule(GivenPredictions(pairs), groups_of(pairs, TAGS), TAGS)  # type: ignore[arg-type]
    first, second = rule.classes
    assert (first.fill_holes, first.min_size) == (False, 16)
    assert (second.fill_holes, second.min_size) == (True, 0)
    chosen = [(effect.class_name, effect.step) for effect in effects if effect.is_kept]
    assert chosen == [("disc", "min_size"), ("bar", "fill_holes")]
    assert [
        (data_effect.class_name, data_effect.name, data_effect.gain)
        for data_effect in measure_steps(scores_of(pairs, rule, TAGS), rule, TAGS)
    ] == [(e.class_name, e.name, pytest.approx(e.gain)) for e in effects if e.is_kept]


def multiclass_pairs() -> dict[int, Pair]:
    """Specks of `bar` in the ground; their next class is ground. Discs and bars are found."""
    pairs = {}
    for row in range(N):
        mask = np.zeros((48, 48), np.uint8)
        mask[disc(12 + row % 3)] = 1
        mask[disc(12, 30, 4) | disc(10, 30, 34)] = 2
        p = np.full((3, 48, 48), 0.1, np.float32)
        np.put_along_axis(p, mask[None].astype(np.int64), np.float32(0.8), axis=0)
        p[:, disc(2 + row % 2, 8, 34)] = np.array([[0.4], [0.1], [0.5]], np.float32)
        mask[:2] = IGNORE_INDEX
        pairs[row] = (p, mask)
    return pairs


def test_specks_of_a_multiclass_task_go_to_the_next_class() -> None:
    pairs = multiclass_pairs()
    rule, effects = choose_rule(GivenPredictions(pairs), groups_of(pairs, THREE), THREE)  # type: ignore[arg-type]
    assert [entry.min_size for entry in rule.classes] == [0, 0, 16]
    assert not any(e.step == "fill_holes" for e in effects)
    assert [(e.class_name, e.step, e.after) for e in effects if e.is_kept] == [
        ("bar", "min_size", 1.0)
    ]
    results = compute_results(scores_of(pairs, rule, THREE), THREE)
    values = {
        (r.metric, r.at): r.value
        for r in results
        if not r.of and not r.stratum and (r.meaning == "image" or r.metric == "miou")
    }
    assert values["dice", "cleaned"] == values["miou", "cleaned"] == 1.0
    assert values["dice", "argmax"] is not None and values["dice", "argmax"] < 1.0


def test_numbers_of_a_test_run_after_clean_up() -> None:
    """By hand for one image, and the numbers at 0.5 and at the threshold are unchanged."""
    pairs = binary_pairs(speck=0.9)
    plain, _ = choose_rule(GivenPredictions(pairs), groups_of(pairs, BINARY), BINARY)  # type: ignore[arg-type]
    off = plain.model_copy(
        update={"classes": (plain.classes[0].model_copy(update={"min_size": 0}),)}
    )
    with_cleanup, without = (scores_of(pairs, rule, BINARY) for rule in (plain, off))
    assert set(with_cleanup.extra_columns) - set(without.extra_columns) == set(CLEANED_COLUMNS)
    others = [r for r in compute_results(with_cleanup, BINARY) if r.at != "cleaned"]
    assert others == compute_results(without, BINARY)
    p, mask = pairs[0]
    decision = decide_mask(p, plain) == 1
    counts = [with_cleanup.extra_columns[name][0] for name in CLEANED_COLUMNS]
    y = mask == 1
    expected = (decision & y, decision & ~y, ~decision & y, ~decision & ~y)
    assert counts == [plane.sum() for plane in expected]
    assert measure_steps(without, off, BINARY) == []


def test_each_step_of_a_test_run_is_compared_with_the_rule_before_it() -> None:
    """Holes of 9 px and specks of 9 px; the rule has both steps, in their order."""
    pairs = {}
    for row, (p, mask) in binary_pairs(speck=0.9).items():
        p = p.copy()
        p[0][disc(3, 8, 8)] = 0.2
        pairs[row] = (p, mask)
    rule, effects = choose_rule(GivenPredictions(pairs), groups_of(pairs, BINARY), BINARY)  # type: ignore[arg-type]
    kept = [effect for effect in effects if effect.is_kept]
    assert [effect.step for effect in kept] == ["fill_holes", "min_size"]
    assert [partial.classes[0].min_size for *_, partial in cumulative_rules(rule)] == [0, 16]
    scores = scores_of(pairs, rule, BINARY)
    assert measure_steps(scores, rule, BINARY) == kept, "the same images give the same numbers"
    assert "tp_step_1" in scores.extra_columns and "tp_step_2" not in scores.extra_columns
