import numpy as np
import pytest

from harness.report.predictions.agreement import (
    find_disputed_images,
    find_suspect_labels,
    mean_disagreement,
)


def columns(*spans: tuple[int, int], width: int = 8) -> np.ndarray:
    """One plane (4, width) for each span of columns that is decided."""
    planes = np.zeros((len(spans), 4, width), bool)
    for plane, (start, stop) in zip(planes, spans, strict=True):
        plane[:, start:stop] = True
    return planes


def test_disagreement_is_the_mean_over_pairs() -> None:
    """Halves and the whole: 1 - IoU is 1 between the halves, 1/2 between each and the whole."""
    models = [columns((0, 4)), columns((4, 8)), columns((0, 8))]
    assert mean_disagreement(models) == pytest.approx((1 + 0.5 + 0.5) / 3)


def test_models_that_find_nothing_agree_and_one_that_finds_something_does_not() -> None:
    nothing = columns((0, 0))
    assert mean_disagreement([nothing, nothing]) == 0.0
    assert mean_disagreement([nothing, columns((0, 1))]) == 1.0


def test_a_class_that_neither_finds_does_not_count() -> None:
    """Two classes: 1 - IoU of the first is 3/4, nobody finds the second."""
    assert mean_disagreement([columns((0, 8), (0, 0)), columns((0, 2), (0, 0))]) == 0.75


def test_the_most_disputed_come_first_and_agreed_ones_not_at_all() -> None:
    chosen = find_disputed_images({4: 0.0, 5: 0.25, 6: 0.5, 7: 0.25}, 3, n=3)
    assert [one.row for one in chosen] == [6, 5, 7]
    assert chosen[0].reason == "the 3 leading models disagree: mean 1 − IoU between them 0.50"
    assert find_disputed_images({4: 0.0}, 3) == []


def judged(others: float = 0.9) -> tuple[dict[int, list[float | None]], dict[int, list[int]]]:
    """Three models: rows 1 to 5 as given, rows 10 to 19 with this Dice."""
    dice: dict[int, list[float | None]] = {
        1: [0.2, 0.49, 0.3],
        2: [0.2, 0.5, 0.3],
        3: [0.0, 0.1, 0.05],
        4: [None, None, None],
        5: [None, None, None],
    }
    alarms = {1: [0, 0, 0], 2: [0, 0, 0], 3: [0, 0, 0], 4: [3, 7, 1], 5: [0, 7, 1]}
    dice |= {row: [others] * 3 for row in range(10, 20)}
    return dice, alarms | {row: [0] * 3 for row in range(10, 20)}


def test_suspects_are_wrong_in_every_model_the_worst_first() -> None:
    chosen = find_suspect_labels(*judged())
    assert [one.row for one in chosen] == [3, 1, 4]
    assert chosen[0].reason == "suspect label: all 3 models get it wrong, the best with Dice 0.10"
    assert chosen[2].reason == "suspect label: no foreground, but all 3 models predict some"
    assert [one.row for one in find_suspect_labels(*judged(), n=1)] == [3]


def test_models_that_are_weak_accuse_no_label() -> None:
    assert find_suspect_labels(*judged(others=0.8)) == []


def test_two_good_models_accuse_no_label_and_a_weak_third_adds_nothing() -> None:
    dice, alarms = judged()
    weak = {
        row: [*values[:2], 0.1 if values[2] is not None else None] for row, values in dice.items()
    }
    assert find_suspect_labels(weak, alarms) == []
    assert find_suspect_labels({row: values[:2] for row, values in dice.items()}, alarms) == []


def test_a_weak_model_does_not_acquit_a_label_that_good_ones_accuse() -> None:
    dice, alarms = judged()
    four = {row: [*values, 0.6 if values[0] is not None else None] for row, values in dice.items()}
    assert [
        one.row for one in find_suspect_labels(four, {k: [*v, 0] for k, v in alarms.items()})
    ] == [3, 1, 4]


def test_without_any_row_nothing_is_suspected() -> None:
    assert find_suspect_labels({}, {}) == []
