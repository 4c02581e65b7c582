from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torchmetrics.functional import classification as torch_metrics

from harness.config.data import IGNORE_INDEX, StudyDataConfig
from harness.core.errors import DataError
from harness.training.metrics.image_scores import (
    ImageScores,
    ScoreEntry,
    metrics_per_entry,
    read_scores,
    scores_from_entries,
    scores_to_entries,
    summarise_scores,
    write_scores,
)

# Two images of 16 pixels with something to find, and two without.
#              row image    class  Σpy  Σp   Σy   tp fp fn tn
HALF_FOUND = (3, "a.jpg", 1, 3.0, 5.0, 4.0, 2, 2, 2, 10)
ALL_MISSED = (5, "b.jpg", 1, 0.5, 1.0, 8.0, 0, 0, 8, 8)
QUIET = (6, "c.jpg", 1, 0.0, 0.5, 0.0, 0, 0, 0, 16)
ALARMED = (9, "d.jpg", 1, 0.0, 2.5, 0.0, 0, 3, 0, 13)


def test_per_image_metrics_by_hand() -> None:
    columns = metrics_per_entry(scores_from_entries([HALF_FOUND]))
    assert {name: float(column[0]) for name, column in columns.items()} == pytest.approx(
        {
            "dice_loss": 1 - (2 * 3.0 + 1) / (5.0 + 4.0 + 1),
            "dice": 2 * 2 / (2 * 2 + 2 + 2),
            "iou": 2 / 6,
            "precision": 2 / 4,
            "recall": 2 / 4,
            "accuracy": 12 / 16,
        }
    )


def test_object_of_which_nothing_was_found_has_precision_zero() -> None:
    columns = metrics_per_entry(scores_from_entries([ALL_MISSED]))
    assert float(columns["precision"][0]) == 0
    assert float(columns["dice_loss"][0]) == pytest.approx(1 - 2 / 10)


def test_per_image_metrics_are_undefined_where_there_is_nothing_to_find() -> None:
    columns = metrics_per_entry(scores_from_entries([HALF_FOUND, QUIET]))
    assert all(np.isnan(column[1]) and not np.isnan(column[0]) for column in columns.values())


def test_summary_is_the_mean_over_images_and_micro_pools_their_pixels() -> None:
    summary = summarise_scores(scores_from_entries([HALF_FOUND, ALL_MISSED]))
    assert summary == pytest.approx(
        {
            "val/dice_loss": 1 - (0.7 + 0.2) / 2,
            "val/dice": (0.5 + 0) / 2,
            "val/iou": (1 / 3 + 0) / 2,
            "val/precision": (0.5 + 0) / 2,
            "val/recall": (0.5 + 0) / 2,
            "val/accuracy": (0.75 + 0.5) / 2,
            "val/dice_micro": 4 / (4 + 2 + 10),
            "val/iou_micro": 2 / 14,
            "val/precision_micro": 2 / 4,
            "val/recall_micro": 2 / 12,
            "val/accuracy_micro": 20 / 32,
        }
    )


def test_images_with_nothing_to_find_feed_the_false_alarm_share_only() -> None:
    alone = summarise_scores(scores_from_entries([HALF_FOUND, ALL_MISSED]))
    with_empty = summarise_scores(scores_from_entries([HALF_FOUND, QUIET, ALL_MISSED, ALARMED]))
    assert with_empty.pop("val/false_alarm_share") == 0.5
    assert with_empty == alone


def test_metrics_that_are_undefined_are_absent() -> None:
    assert summarise_scores(scores_from_entries([QUIET, ALARMED])) == {"val/false_alarm_share": 0.5}
    assert summarise_scores(scores_from_entries([])) == {}


def test_metric_is_the_mean_over_classes_not_over_entries() -> None:
    """Class 1 in two images with dice 0.5 and 0, class 2 in one with dice 1."""
    second = (3, "a.jpg", 2, 4.0, 4.0, 4.0, 4, 0, 0, 12)
    summary = summarise_scores(scores_from_entries([HALF_FOUND, second, ALL_MISSED]))
    assert summary["val/dice"] == pytest.approx((0.25 + 1) / 2)
    assert summary["val/dice_micro"] == pytest.approx((4 / 16 + 1) / 2)


THREE = StudyDataConfig(task="multiclass", classes=("sky", "road", "big tree"))
LABELS = StudyDataConfig(task="multilabel", classes=("cat", "dog"))


def of_pixels(truth: np.ndarray, said: np.ndarray, n_classes: int) -> ImageScores:
    """Scores of class indices (N, P), pixel by pixel; as sure as can be."""
    entries: list[ScoreEntry] = []
    for row, (y, d) in enumerate(zip(truth.tolist(), said.tolist(), strict=True)):
        for k in range(n_classes):
            pairs = [(a == k, b == k) for a, b in zip(y, d, strict=True) if a != IGNORE_INDEX]
            tp, fp, fn, tn = (
                pairs.count(what)
                for what in ((True, True), (False, True), (True, False), (False, False))
            )
            sums = (float(tp), float(tp + fp), float(tp + fn))
            entries.append((row, f"{row}.png", k, *sums, tp, fp, fn, tn))
    return scores_from_entries(entries)


@pytest.mark.parametrize(
    ("in_truth", "said"),
    [
        ([0, 1, 2, 3, 4], [0, 1, 2, 3, 4]),
        ([0, 1, 3], [0, 1, 2, 3, 4]),  # 2 and 4 are false alarms only: 0, and counted
        ([0, 1, 3, 4], [0, 1, 3]),  # 2 is nowhere: left out; 4 is never found
        ([2], [2, 3]),
    ],
)
def test_miou_equals_torchmetrics(in_truth: list[int], said: list[int]) -> None:
    """With void pixels, which are no class to it either."""
    random = np.random.default_rng(len(in_truth))
    truth = random.choice([*in_truth, IGNORE_INDEX], (7, 60))
    decided = random.choice(said, (7, 60))
    data = StudyDataConfig(task="multiclass", classes=("a", "b", "c", "d", "e"))
    expected = torch_metrics.multiclass_jaccard_index(
        torch.tensor(decided), torch.tensor(truth), 5, average="macro", ignore_index=IGNORE_INDEX
    )
    summary = summarise_scores(of_pixels(truth, decided, 5), data)
    assert summary["val/miou"] == pytest.approx(float(expected), abs=1e-6)


def test_metrics_of_each_class_by_hand() -> None:
    """Class 2 is in the first image only, class 0 in none: it has no value, yet lowers miou."""
    truth = np.array([[1, 1, 2, 2], [1, 1, 1, IGNORE_INDEX]])
    said = np.array([[1, 2, 2, 2], [1, 1, 0, 0]])
    summary = summarise_scores(of_pixels(truth, said, 3), THREE)
    road = ((2 / 3) + (4 / 5)) / 2
    tree = 4 / 5
    assert summary["val/dice/road"] == pytest.approx(road)
    assert summary["val/dice/big tree"] == pytest.approx(tree)
    assert summary["val/iou/road"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert "val/dice/sky" not in summary and "val/iou/sky" not in summary
    assert summary["val/dice"] == pytest.approx((road + tree) / 2)
    assert summary["val/miou"] == pytest.approx((0 / 1 + 3 / 5 + 2 / 3) / 3)
    assert "val/false_alarm_share" not in summary


def test_image_without_a_pixel_that_counts_is_no_image_without_a_find() -> None:
    truth, said = np.array([[1, 1], [IGNORE_INDEX, IGNORE_INDEX]]), np.array([[1, 2], [2, 2]])
    assert "val/false_alarm_share" not in summarise_scores(of_pixels(truth, said, 3), THREE)


def test_multilabel_images_without_any_class_feed_the_false_alarm_share() -> None:
    entries: list[ScoreEntry] = [
        (0, "a", 0, 1.0, 1.0, 1.0, 1, 0, 0, 3),
        (0, "a", 1, 0.0, 2.0, 0.0, 0, 2, 0, 2),  # an alarm beside something to find
        (1, "b", 0, 0.0, 0.0, 0.0, 0, 0, 0, 4),
        (1, "b", 1, 0.0, 1.0, 0.0, 0, 1, 0, 3),
        (2, "c", 0, 0.0, 0.0, 0.0, 0, 0, 0, 4),
        (2, "c", 1, 0.0, 0.0, 0.0, 0, 0, 0, 4),
    ]
    summary = summarise_scores(scores_from_entries(entries), LABELS)
    assert summary["val/false_alarm_share"] == 0.5
    assert summary["val/dice"] == summary["val/dice/cat"] == 1.0
    assert "val/miou" not in summary and "val/dice/dog" not in summary


def random_scores(n: int = 6) -> tuple[ImageScores, torch.Tensor, torch.Tensor]:
    """Scores of random pictures, with the pictures: decisions and truths (n, 12, 12)."""
    generator = torch.Generator().manual_seed(1)
    p = torch.rand((n, 12, 12), generator=generator, dtype=torch.float64)
    y = torch.rand((n, 12, 12), generator=generator) > 0.6
    entries = []
    for k in range(n):
        d = p[k] >= 0.5
        counts = [d & y[k], d & ~y[k], ~d & y[k], ~d & ~y[k]]
        sums = (float((p[k] * y[k]).sum()), float(p[k].sum()), float(y[k].sum()))
        tp, fp, fn, tn = (int(count.sum()) for count in counts)
        entries.append((k, f"{k}.png", 1, *sums, tp, fp, fn, tn))
    return scores_from_entries(entries), (p >= 0.5).int(), y.int()


@pytest.mark.parametrize(
    ("name", "measure"),
    [
        ("dice", torch_metrics.binary_f1_score),
        ("iou", torch_metrics.binary_jaccard_index),
        ("precision", torch_metrics.binary_precision),
        ("recall", torch_metrics.binary_recall),
        ("accuracy", torch_metrics.binary_accuracy),
    ],
)
def test_metrics_of_decisions_equal_torchmetrics(
    name: str, measure: Callable[..., torch.Tensor]
) -> None:
    scores, decided, truth = random_scores()
    each = [float(measure(d, y)) for d, y in zip(decided, truth, strict=True)]
    summary = summarise_scores(scores)
    assert metrics_per_entry(scores)[name].tolist() == pytest.approx(each)
    assert summary[f"val/{name}"] == pytest.approx(np.mean(each))
    pooled = float(measure(decided.flatten(), truth.flatten()))
    assert summary[f"val/{name}_micro"] == pytest.approx(pooled)


def test_scores_file_gives_back_the_same_numbers(tmp_path: Path) -> None:
    scores, _, _ = random_scores()
    tricky = (7, 'a, "b"\n=c.png', 1, 0.1 + 0.2, 1e-17, 1 / 3, 1, 2, 3, 4)
    entries = [*scores_to_entries(scores), tricky]
    path = tmp_path / "best" / "scores.csv"
    write_scores(path, scores_from_entries(entries))
    assert scores_to_entries(read_scores(path)) == entries
    assert path.read_text().splitlines()[0] == "row,image,class,sum_py,sum_p,sum_y,tp,fp,fn,tn"
    assert summarise_scores(read_scores(path)) == summarise_scores(scores_from_entries(entries))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"scores.csv:1: the columns must be row,image,class"),
        ("row,image\n", r"scores.csv:1: the columns must be row,image,class"),
        ("{header}\n1,a,1,0.5,1,1,0,0\n", r"scores.csv:2: not a row of scores"),
        ("{header}\n1,a,1,0.5,1,1,0,0,0,0\n1,a,1,x,1,1,0,0,0,0\n", r"scores.csv:3: not a row"),
        ("{header}\nx,a,1,0.5,1,1,0,0,0,0\n", r"scores.csv:2: not a row of scores"),
        ("{header}\n1,a,1,nan,1,1,0,0,0,0\n", r"scores.csv:2: sums and counts must be finite"),
        ("{header}\n1,a,1,0.5,1,1,0,-1,0,0\n", r"scores.csv:2: sums and counts must be finite"),
    ],
)
def test_broken_scores_file_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "scores.csv"
    header = "row,image,class,sum_py,sum_p,sum_y,tp,fp,fn,tn"
    path.write_text(text.replace("{header}", header))
    with pytest.raises(DataError, match=message):
        read_scores(path)
