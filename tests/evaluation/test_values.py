import numpy as np
import pytest

from harness.errors import UserError
from harness.evaluation.values import per_image
from harness.training.metrics import from_entries

#        row image class  Σpy  Σp   Σy   tp fp fn tn
SCORES = from_entries(
    [
        (4, "b", 1, 30.0, 40.0, 50.0, 30, 10, 20, 40),
        (2, "a", 1, 10.0, 10.0, 10.0, 10, 0, 0, 90),
        (2, "a", 2, 0.0, 0.0, 20.0, 0, 0, 20, 80),
        (7, "empty", 1, 0.0, 3.0, 0.0, 0, 3, 0, 97),
    ],
    {"boundary": [0.25, 0.5, np.nan, np.nan]},
)


def test_dice_of_an_image_is_the_mean_over_its_classes() -> None:
    """a: (1 + 0) / 2; b: 2·30 / (2·30 + 10 + 20); the empty image is left out."""
    found = per_image(SCORES, "dice")
    assert list(found.index) == ["a", "b"] and found.index.name == "image"
    assert found.tolist() == pytest.approx([0.5, 60 / 90])


def test_iou_and_dice_loss_by_hand() -> None:
    """Soft Dice of b: (2·30 + 1) / (40 + 50 + 1); of a: 21/21 and 1/21."""
    assert per_image(SCORES, "iou")["b"] == pytest.approx(30 / 60)
    losses = per_image(SCORES, "val/dice_loss")
    assert losses["b"] == pytest.approx(1 - 61 / 91)
    assert losses["a"] == pytest.approx(1 - (1 + 1 / 21) / 2)


def test_metric_of_the_users_own_skips_where_it_does_not_count() -> None:
    assert per_image(SCORES, "best/boundary").to_dict() == {"a": 0.5, "b": 0.25}


def test_pooled_metric_is_refused_with_its_name() -> None:
    with pytest.raises(UserError, match=r"^val/dice_micro: has no value for a single image"):
        per_image(SCORES, "val/dice_micro")
