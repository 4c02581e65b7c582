from dataclasses import replace

import numpy as np
import pytest

from harness.config.data import StudyDataConfig
from harness.core.errors import UserError
from harness.evaluation.statistics.image_values import per_image_values, per_image_values_of_all
from harness.training.metrics.image_scores import (
    ImageScores,
    ScoreEntry,
    scores_from_entries,
    summarise_scores,
)

#        row image class  Σpy  Σp   Σy   tp fp fn tn
SCORES = scores_from_entries(
    [
        (4, "b", 1, 30.0, 40.0, 50.0, 30, 10, 20, 40),
        (2, "a", 1, 10.0, 10.0, 10.0, 10, 0, 0, 90),
        (2, "a", 2, 0.0, 0.0, 20.0, 0, 0, 20, 80),
        (7, "empty", 1, 0.0, 3.0, 0.0, 0, 3, 0, 97),
    ],
    {"boundary": [0.25, 0.5, np.nan, np.nan]},
)


ONE = scores_from_entries(
    [
        (4, "b", 1, 30.0, 40.0, 50.0, 30, 10, 20, 40),
        (2, "a", 1, 10.0, 10.0, 10.0, 5, 5, 5, 85),
        (7, "empty", 1, 0.0, 3.0, 0.0, 0, 3, 0, 97),
    ]
)


def random_scores(n: int, rng: np.random.Generator, n_classes: int = 4) -> ImageScores:
    """Images of 1000 pixels; class k is in about 1 of k + 1 images, and in image k at least."""
    entries: list[ScoreEntry] = []
    for row in range(n):
        for k in range(n_classes):
            has = row == k or rng.random() < 1 / (k + 1)
            y = int(rng.integers(20, 200)) if has else 0
            tp = int(rng.integers(0, y + 1))
            fp = int(rng.integers(0, 50))
            sums = (0.9 * tp, tp + fp + 1.0, float(y))
            entries.append((row, f"i{row}", k, *sums, tp, fp, y - tp, 1000 - y - fp))
    return scores_from_entries(entries)


def test_one_class_has_the_values_of_the_images() -> None:
    """a: 2·5 / (2·5 + 5 + 5); b: 2·30 / (2·30 + 10 + 20); the empty image is left out."""
    found = per_image_values(ONE, "dice")
    assert list(found.index) == ["a", "b"] and found.index.name == "image"
    assert found.tolist() == [10 / 20, 60 / 90]
    assert per_image_values(ONE, "iou")["b"] == 30 / 60
    assert per_image_values(ONE, "val/dice_loss")["b"] == pytest.approx(1 - 61 / 91)


def test_two_classes_by_hand() -> None:
    """Class 1 in both images (1 and 2/3), class 2 in both (0 and 1): K = 2, n = n_k, no factor."""
    scores = scores_from_entries(
        [
            (0, "a", 1, 1.0, 1.0, 1.0, 10, 0, 0, 90),
            (0, "a", 2, 1.0, 1.0, 1.0, 0, 0, 20, 80),
            (1, "b", 1, 1.0, 1.0, 1.0, 30, 10, 20, 40),
            (1, "b", 2, 1.0, 1.0, 1.0, 5, 0, 0, 95),
        ]
    )
    assert per_image_values(scores, "dice").tolist() == pytest.approx([1 / 2, (2 / 3 + 1) / 2])


METRICS = ("dice_loss", "dice", "iou", "precision", "recall", "accuracy")
POOLED = tuple(f"{name}_micro" for name in METRICS[1:])


@pytest.mark.parametrize("metric", METRICS + POOLED)
def test_the_mean_over_images_is_the_reported_metric(metric: str) -> None:
    data = StudyDataConfig(task="multiclass", classes=("a", "b", "c", "d"))
    for seed in range(20):
        scores = random_scores(5 + 10 * seed, np.random.default_rng(seed))
        reported = summarise_scores(scores, data)[f"val/{metric}"]
        assert per_image_values(scores, f"val/{metric}").mean() == pytest.approx(reported)


def test_the_mean_over_images_is_miou_with_its_false_alarms() -> None:
    """Class 3 is in no truth, but decided somewhere: it counts with 0, as in `val/miou`."""
    data = StudyDataConfig(task="multiclass", classes=("a", "b", "c", "d"))
    scores = random_scores(40, np.random.default_rng(0))
    none = np.where(scores.class_index == 3, 0, scores.tp)
    missed = np.where(scores.class_index == 3, 0, scores.fn)
    scores = replace(scores, tp=none, fn=missed, sum_y=(none + missed).astype(float))
    found = per_image_values(scores, "val/miou")
    assert (
        found.mean() == pytest.approx(summarise_scores(scores, data)["val/miou"])
        and len(found) == 40
    )


def test_a_class_that_is_never_decided_has_precision_0_in_pooled_pixels_too() -> None:
    data = StudyDataConfig(task="multiclass", classes=("a", "b", "c", "d"))
    scores = random_scores(40, np.random.default_rng(0))
    silent = np.where(scores.class_index == 2, 0, scores.tp)
    scores = replace(scores, tp=silent, fp=np.where(scores.class_index == 2, 0, scores.fp))
    reported = summarise_scores(scores, data)["val/precision_micro"]
    assert per_image_values(scores, "val/precision_micro").mean() == pytest.approx(reported)


def test_pooled_pixels_vary_as_the_jackknife_says() -> None:
    """One class: the metric without each image in turn, Quenouille and Tukey's pseudo-values."""
    scores = random_scores(200, np.random.default_rng(3), n_classes=1)
    above, below = 2.0 * scores.tp, 2.0 * scores.tp + scores.fp + scores.fn
    whole = above.sum() / below.sum()
    without = (above.sum() - above) / (below.sum() - below)
    jackknife = 200 * whole - 199 * without
    found = per_image_values(scores, "val/dice_micro")
    assert found.mean() == pytest.approx(whole)
    assert found.std() == pytest.approx(jackknife.std(ddof=1), rel=0.03)


def test_metric_of_the_users_own_skips_where_it_does_not_count() -> None:
    found = per_image_values(SCORES, "best/boundary")
    assert found.index.tolist() == ["a", "b"]
    assert found.mean() == pytest.approx((0.5 + 0.25) / 2)
    one = replace(ONE, extra_columns={"boundary": np.array([0.25, 0.5, np.nan])})
    assert per_image_values(one, "best/boundary").to_dict() == {"a": 0.5, "b": 0.25}


def test_metrics_that_are_no_mean_are_refused_with_the_nearest_name() -> None:
    with pytest.raises(UserError, match=r"^dice_macro: not a mean .*; did you mean dice_micro\?$"):
        per_image_values(SCORES, "val/dice_macro")
    with pytest.raises(UserError, match=r"^false_alarm_share: not a mean over images and classes"):
        per_image_values(SCORES, "val/false_alarm_share")


def test_networks_are_compared_over_the_same_images_and_classes() -> None:
    """The second has no value of class 1 in b, nor of image c."""
    entry = (1.0, 1.0, 1.0)
    first = [(0, "a", 0), (0, "a", 1), (1, "b", 0), (1, "b", 1), (2, "c", 0)]
    second = [(5, "b", 0), (7, "a", 0), (7, "a", 1)]
    one, other = (
        scores_from_entries([(*place, *entry, 1 + k, k, 0, 9) for k, place in enumerate(places)])
        for places in (first, second)
    )
    kept = scores_from_entries(
        [(*place, *entry, 1 + k, k, 0, 9) for k, place in enumerate(first[:3])]
    )
    found = per_image_values_of_all([one, other], "dice")
    assert found[0].to_dict() == pytest.approx(per_image_values(kept, "dice").to_dict())
    assert found[1].to_dict() == pytest.approx(per_image_values(other, "dice").to_dict())
    assert found[0].mean() == pytest.approx(((2 / 2 + 6 / 8) / 2 + 4 / 5) / 2)
