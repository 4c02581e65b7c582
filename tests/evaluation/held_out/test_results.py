"""From sums to what is reported: by hand, and against the metrics of training and scipy."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from harness.config.data import StudyDataConfig
from harness.evaluation.held_out.ledger import HeldOutResult
from harness.evaluation.held_out.results import compute_results, ratio_interval
from harness.evaluation.held_out.scores import (
    collect_scores,
    extra_columns,
    iter_class_planes,
    make_entry,
)
from harness.evaluation.statistics.intervals import RESAMPLES, mean_interval
from harness.training.metrics.image_scores import ImageScores, summarise_scores

BINARY = StudyDataConfig()
THREE = StudyDataConfig(task="multiclass", classes=("ground", "disc", "bar"))


def scores_of(
    pairs: list[tuple[NDArray[np.float32], NDArray[np.uint8]]],
    data: StudyDataConfig,
    thresholds: dict[int, float] | None,
) -> ImageScores:
    found = [
        (make_entry(row, f"{row}.png", plane), extra_columns(plane, p.shape[1:], thresholds))
        for row, (p, mask) in enumerate(pairs)
        for plane in iter_class_planes(p, mask, data)
    ]
    return collect_scores([one for one, _ in found], [more for _, more in found])


def by_key(results: list[HeldOutResult]) -> dict[tuple[str, str, str, str, str], HeldOutResult]:
    found = {(r.metric, r.meaning, r.at, r.of, r.stratum): r for r in results}
    assert len(found) == len(results), "every number once"
    return found


def blocks(tops: list[int], said: list[int], size: int = 10) -> ImageScores:
    """Images of size x size: the truth is the first `top` pixels, the answer the first `said`."""
    pairs = []
    for top, n_said in zip(tops, said, strict=True):
        mask, p = np.zeros(size * size, np.uint8), np.zeros(size * size, np.float32)
        mask[:top], p[:n_said] = 1, 0.6
        pairs.append((p.reshape(1, size, size), mask.reshape(size, size)))
    return scores_of(pairs, BINARY, {1: 0.7})


def test_the_three_meanings_by_hand() -> None:
    """40 of 50 pixels found, and 10 of 10 with 20 said; nothing reaches the threshold of 0.7."""
    found = by_key(compute_results(blocks([50, 10], [40, 20]), BINARY))

    def value(metric: str, meaning: str, at: str) -> float | None:
        return found[metric, meaning, at, "", ""].value

    dice = [2 * 40 / (2 * 40 + 10), 2 * 10 / (2 * 10 + 10)]
    iou = [40 / 50, 10 / 20]
    assert value("dice", "image", "0.5") == pytest.approx(np.mean(dice), abs=1e-12)
    assert value("iou", "image", "0.5") == pytest.approx(np.mean(iou), abs=1e-12)
    assert value("precision", "image", "0.5") == pytest.approx((1 + 0.5) / 2, abs=1e-12)
    assert value("recall", "image", "0.5") == pytest.approx((0.8 + 1) / 2, abs=1e-12)
    assert value("dice", "pixels", "0.5") == pytest.approx(2 * 50 / (2 * 50 + 20), abs=1e-12)
    assert value("iou", "pixels", "0.5") == pytest.approx(50 / 70, abs=1e-12)
    assert value("dice", "image", "chosen") == value("iou", "pixels", "chosen") == 0
    whole = [2 * 50 / 150, 2 * 10 / 110]  # at t = 0 all 100 pixels are said
    expected = [(255 * d + w) / 256 for d, w in zip(dice, whole, strict=True)]
    assert value("dice", "256", "256") == pytest.approx(np.mean(expected), abs=1e-12)
    assert all(result.low is None and result.n == 2 for result in found.values() if result.n > 1)


def test_strata_by_size_with_their_limits() -> None:
    """Of 400 pixels 0.5, 1, 5, 15, 20 and 4.75 %: a limit belongs to the stratum above it."""
    tops = [2, 4, 20, 60, 80]
    scores = blocks([*tops, 19], [*tops, 0], size=20)
    found = by_key(compute_results(scores, BINARY))
    n = {
        stratum: result.n
        for (metric, meaning, at, _, stratum), result in found.items()
        if (metric, meaning, at) == ("dice", "image", "0.5") and stratum.startswith("size")
    }
    assert n == {"size below 1 %": 1, "size 1-5 %": 2, "size 5-15 %": 1, "size above 15 %": 2}
    assert found["dice", "image", "0.5", "", "size 1-5 %"].value == 0.5
    assert found["dice", "pixels", "0.5", "", "size 1-5 %"].value == 2 * 4 / (2 * 4 + 19)
    assert found["dice", "image", "0.5", "", "size above 15 %"].value == 1


def test_strata_by_number_of_objects() -> None:
    masks = [[1, 0, 1, 0, 1, 0, 1], [1, 0, 1, 0, 0, 0, 0], [0, 1, 1, 1, 0, 0, 0], [0] * 7]
    pairs = [(np.full((1, 1, 7), 0.9, np.float32), np.array([m], np.uint8)) for m in masks]
    found = by_key(compute_results(scores_of(pairs, BINARY, {1: 0.5}), BINARY))
    values = {
        name: found["iou", "image", "0.5", "", f"objects {name}"]
        for name in ("1", "2", "3 or more")
    }
    assert {name: result.n for name, result in values.items()} == {"1": 1, "2": 1, "3 or more": 1}
    assert [result.value for result in values.values()] == pytest.approx([3 / 7, 2 / 7, 4 / 7])


def test_false_alarms_are_of_images_with_nothing_to_find() -> None:
    found = by_key(compute_results(blocks([5, 0, 0, 0], [5, 0, 1, 9]), BINARY))
    alarms = found["false_alarm_share", "image", "0.5", "", ""]
    assert (alarms.value, alarms.n) == (2 / 3, 3)
    assert found["false_alarm_share", "image", "chosen", "", ""].value == 0
    assert found["dice", "image", "0.5", "", ""].n == 1
    without = by_key(compute_results(blocks([5], [5]), BINARY))
    assert not [key for key in without if key[0] == "false_alarm_share"]


def a_street(n: int, seed: int = 0) -> ImageScores:
    random = np.random.default_rng(seed)
    pairs = []
    for k in range(n):
        mask = random.integers(0, 3 if k % 4 else 2, (6, 7)).astype(np.uint8)
        mask[0, :2] = 255
        p = random.dirichlet((1, 1, 1), (6, 7)).transpose(2, 0, 1).astype(np.float32)
        pairs.append((p, mask))
    return scores_of(pairs, THREE, None)


def test_several_classes_agree_with_the_metrics_of_validation() -> None:
    scores = a_street(9)
    found = by_key(compute_results(scores, THREE))
    expected = summarise_scores(scores, THREE)
    same = {"image": "", "pixels": "_micro"}
    for meaning, suffix in same.items():
        for metric in ("dice", "iou"):
            value = found[metric, meaning, "argmax", "", ""].value
            assert value == pytest.approx(expected[f"val/{metric}{suffix}"], abs=1e-12)
    assert found["miou", "pixels", "argmax", "", ""].value == pytest.approx(expected["val/miou"])
    for name in THREE.classes:
        value = found["dice", "image", "argmax", name, ""].value
        assert value == pytest.approx(expected[f"val/dice/{name}"], abs=1e-12)
    assert not [key for key in found if key[2] == "chosen"]
    assert found["dice", "image", "argmax", "bar", ""].n == 6  # every fourth has no bar


def test_one_class_has_the_interval_of_a_mean() -> None:
    values = np.random.default_rng(5).beta(8, 2, 80)
    ours = ratio_interval(values[:, None], np.ones((80, 1)))
    theirs = mean_interval(values)
    assert ours is not None and theirs is not None
    assert (ours.mean, ours.low, ours.high) == pytest.approx(
        (theirs.mean, theirs.low, theirs.high), abs=1e-12
    )
    assert ratio_interval(values[:49, None], np.ones((49, 1))) is None


def test_pooled_pixels_have_the_interval_of_a_ratio() -> None:
    random = np.random.default_rng(6)
    below = random.integers(50, 900, 60).astype(float)
    above = below * random.beta(8, 2, 60)
    ours = ratio_interval(above[:, None], below[:, None])
    theirs = stats.bootstrap(
        (above, below),
        lambda a, b, axis: a.sum(axis=axis) / b.sum(axis=axis),
        paired=True,
        n_resamples=RESAMPLES,
        method="BCa",
        rng=np.random.default_rng(0),
    ).confidence_interval
    assert ours is not None
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-3)
    assert ours.low < above.sum() / below.sum() < ours.high


def test_equal_images_have_an_interval_of_no_width() -> None:
    found = by_key(compute_results(blocks([50] * 50, [40] * 50), BINARY))
    result = found["dice", "image", "0.5", "", ""]
    assert result.low == result.high == pytest.approx(80 / 90, abs=1e-12)
    assert result.n == 50


def test_several_classes_have_intervals_over_images() -> None:
    found = by_key(compute_results(a_street(60), THREE))
    result = found["dice", "image", "argmax", "", ""]
    assert result.low is not None and result.high is not None and result.value is not None
    assert result.low < result.value < result.high
    assert result.high - result.low < 0.1
