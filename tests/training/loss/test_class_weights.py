from pathlib import Path

import numpy as np
import pytest

from harness.config.data import IGNORE_INDEX, StudyDataConfig
from harness.config.study import LossConfig, TrialConfig
from harness.core.errors import ConfigError
from harness.data.loading.image_cache import ImageCache
from harness.data.loading.mask_counts import MaskCounts, count_cached_masks
from harness.training.loss.combined_loss import median_frequency_weights, resolve_class_weights
from harness.training.loss.task_checks import check_loss_for_task
from tests.training.test_tasks import CLASSES, MULTICLASS, MULTILABEL, cache_for, train

FOUR = StudyDataConfig(task="multiclass", classes=("a", "b", "c", "d"))


def counts(masks: np.ndarray, data: StudyDataConfig) -> MaskCounts:
    """Counts of the first two of three masks; the last is that of a validation image."""
    cache = ImageCache(
        images=masks,
        masks=masks,
        boxes=np.array([[0, 0, *masks.shape[1:3]]] * 3, np.int64),
        truths=masks,
        row_of=np.arange(3),
        train=np.arange(2),
        val=np.array([2]),
        data=data,
    )
    return count_cached_masks(cache, cache.train)


def test_median_frequency_by_hand() -> None:
    """a has 5 of the first image's 8 pixels, b 3 of them, c all 2 of the second's that count.

    The median of 0.625, 0.375 and 1 is 0.625; d is shown by no training image.
    """
    masks = np.full((3, 2, 4), IGNORE_INDEX, np.uint8)
    masks[0] = [[0, 0, 0, 0], [0, 1, 1, 1]]
    masks[1, 0, :2] = [2, 2]
    masks[2] = 3
    expected = (1.0, 0.625 / 0.375, 0.625, 1.0)
    assert median_frequency_weights(counts(masks, FOUR)) == pytest.approx(expected, rel=1e-5)


def test_planes_are_counted_one_by_one() -> None:
    """first: 1 of 4 pixels; second: 2 of the 3 of the second image that count."""
    masks = np.zeros((3, 2, 2, 2), np.uint8)
    masks[0, 0, 0, 0] = 1
    masks[1, 0, :, 1], masks[1, 1, 1, 1] = 1, IGNORE_INDEX
    masks[2] = 1
    shares = np.array([1 / 4, 2 / 3])
    found = median_frequency_weights(counts(masks, MULTILABEL))
    assert found == pytest.approx(np.median(shares) / shares, rel=1e-5)


def test_numbers_take_the_place_of_the_word() -> None:
    cache = cache_for(MULTICLASS)

    def count_masks() -> MaskCounts:
        return count_cached_masks(cache, cache.train)

    plain = TrialConfig.from_flat({"loss.bce": 0, "loss.ce": 1})
    assert resolve_class_weights(plain, MULTICLASS, count_masks) == (plain, {})
    asked = TrialConfig.from_flat({"loss.bce": 0, "loss.ce": 1, "loss.class_weights": "balanced"})
    config, by_class = resolve_class_weights(asked, MULTICLASS, count_masks)
    expected = median_frequency_weights(count_masks())
    assert config.loss.class_weights == expected == tuple(by_class.values())
    assert tuple(by_class) == CLASSES
    assert by_class["bar"] > by_class["background"]


def test_a_trial_trains_with_them_and_says_so(tmp_path: Path) -> None:
    word = train(tmp_path / "word", MULTICLASS, train__epochs=1, loss__class_weights="balanced")
    cache = cache_for(MULTICLASS)
    numbers = list(median_frequency_weights(count_cached_masks(cache, cache.train)))
    same = train(tmp_path / "same", MULTICLASS, train__epochs=1, loss__class_weights=numbers)
    plain = train(tmp_path / "plain", MULTICLASS, train__epochs=1)
    assert word.value == same.value != plain.value
    assert word.class_weights == dict(zip(CLASSES, numbers, strict=True))
    assert same.class_weights == plain.class_weights == {}


@pytest.mark.parametrize(
    ("data", "weights", "said"),
    [
        (StudyDataConfig(), {"bce": 1.0}, "act in multiclass and multilabel tasks"),
        (MULTICLASS, {"bce": 0.0, "dice": 1.0}, "act in loss.ce and loss.focal, both 0"),
    ],
)
def test_they_are_refused_where_they_cannot_act(
    data: StudyDataConfig, weights: dict[str, float], said: str
) -> None:
    config = LossConfig.model_validate({**weights, "class_weights": "balanced"})
    with pytest.raises(ConfigError, match=said):
        check_loss_for_task(config, data)


def test_another_word_is_refused_with_the_right_one() -> None:
    with pytest.raises(ConfigError) as caught:
        TrialConfig.from_flat({"loss.class_weights": "balancd"}, source="here")
    assert caught.value.problems == [
        "here: loss.class_weights: must be balanced, null, or a list with a number for each class "
        "(got 'balancd')"
    ]
