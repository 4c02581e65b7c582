"""Greedy selection of an ensemble on validation images."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from harness.config.data import StudyDataConfig
from harness.core.errors import ConfigError
from harness.deploy.ensemble import read_selection
from harness.deploy.greedy_selection import CandidatePlanes, mean_dice, select_greedily
from tests.data.make import folder, picture
from tests.deploy.made_study import made_study
from tests.deploy.predict.test_run import Lines

BINARY = StudyDataConfig()


def planes(p: np.ndarray, truth: np.ndarray) -> CandidatePlanes:
    """Candidates from probabilities (M, N, E, E) and truths (N, E, E)."""
    m = len(p)
    return CandidatePlanes(
        np.rint(255 * p[:, :, None]).astype(np.uint8),
        truth[:, None].astype(np.uint8),
        tuple(10.0 + k for k in range(m)),
        tuple(1000 * (k + 1) for k in range(m)),
    )


def brute_dice(p: np.ndarray, truth: np.ndarray) -> float:
    """Mean of 2 |A and B| / (|A| + |B|) over images with foreground."""
    decided = p >= 0.5
    scores = [
        2 * (d & (t == 1)).sum() / (d.sum() + (t == 1).sum())
        for d, t in zip(decided, truth, strict=True)
        if (t == 1).any()
    ]
    return float(np.mean(scores))


def test_mean_dice_equals_the_definition() -> None:
    rng = np.random.default_rng(0)
    truth = (rng.random((6, 8, 8)) > 0.6).astype(np.uint8)
    truth[5] = 0  # has no Dice
    bytes_ = rng.integers(0, 256, (3, 6, 1, 8, 8)).astype(np.uint16)
    total = bytes_.sum(axis=0).astype(np.uint16)
    expected = brute_dice(total[:, 0] / (3 * 255), truth)
    assert mean_dice(total, 3, truth[:, None], BINARY) == pytest.approx(expected, abs=1e-12)


def test_ignored_pixels_count_nowhere() -> None:
    truth = np.zeros((1, 1, 4, 4), np.uint8)
    truth[0, 0, :2] = 1
    truth[0, 0, 3] = 255
    p = np.zeros((1, 1, 4, 4), np.uint16)
    p[0, 0, :2] = p[0, 0, 3] = 255
    assert mean_dice(p, 1, truth, BINARY) == 1.0


def test_multiclass_decides_by_the_most_probable_class() -> None:
    data = StudyDataConfig(task="multiclass", classes=("a", "b"))
    total = np.array([[[[200, 90]], [[190, 100]]]], np.uint16)  # (1, 2, 1, 2): a, then b
    truth = np.array([[[[1, 0]], [[0, 1]]]], np.uint8)
    assert mean_dice(total, 1, truth, data) == 1.0


def test_members_that_err_at_different_pixels_are_combined() -> None:
    """Of three networks with a Dice of 0.5 each, the mean of two is right everywhere."""
    truth = np.zeros((2, 8, 8), np.uint8)
    truth[:, :, :4] = 1
    left, right = np.zeros((2, 8, 8)), np.zeros((2, 8, 8))
    left[:, :4, :4], left[:, 4:, :4] = 0.9, 0.3
    right[:, :4, :4], right[:, 4:, :4] = 0.3, 0.9
    poor = np.full((2, 8, 8), 0.1)
    poor[:, 0, :4] = 0.9
    steps = select_greedily(planes(np.stack([poor, left, right]), truth), BINARY, [7, 8, 9])
    assert [step.trial for step in steps] == [8, 9]
    assert steps[0].dice == pytest.approx(2 * 16 / (16 + 32))
    assert steps[1].dice == 1.0
    assert (steps[1].ms_per_image, steps[1].parameters) == (12.0, 3000)


def test_a_member_may_be_added_again_at_no_cost() -> None:
    """Two parts of 0.8 and one of 0.1 decide for 0.567; one of each would decide against."""
    truth = np.zeros((1, 4, 4), np.uint8)
    truth[0, :3] = 1
    good, other = np.zeros((1, 4, 4)), np.zeros((1, 4, 4))
    good[0, :2], good[0, 2] = 0.8, 0.2
    other[0, 0], other[0, 1], other[0, 2] = 0.9, 0.1, 0.99
    candidates = planes(np.stack([good, other]), truth)
    steps = select_greedily(candidates, BINARY, [0, 1])
    brute = {
        counts: brute_dice((counts[0] * good + counts[1] * other) / sum(counts), truth)
        for counts in itertools.product(range(4), repeat=2)
        if sum(counts)
    }
    chosen = tuple([step.trial for step in steps].count(k) for k in (0, 1))
    assert steps[-1].dice == pytest.approx(brute[chosen])  # type: ignore[index]
    assert all(a.dice < b.dice for a, b in itertools.pairwise(steps))
    repeated = [s for k, s in enumerate(steps) if s.trial in [t.trial for t in steps[:k]]]
    assert all(step.parameters == 0 and step.ms_per_image == 0 for step in repeated)


def test_alone_if_nothing_helps() -> None:
    truth = np.ones((1, 4, 4), np.uint8)
    p = np.stack([np.full((1, 4, 4), 0.9), np.full((1, 4, 4), 0.8)])
    assert [step.trial for step in select_greedily(planes(p, truth), BINARY, [3, 4])] == [3]


def test_selection_is_kept_by_weights_and_its_images_are_needed_once(tmp_path: Path) -> None:
    data = folder(tmp_path / "set", 8)
    study = made_study(tmp_path / "ws", data={"root": str(data)}, n_trials=3)
    first = Lines()
    predictor = study.predictor(ensemble="best", progress=first)
    (file,) = (study.paths.root / "decisions").glob("ensemble-*.json")
    selection = read_selection(file)
    assert set(selection.candidates) == {"0", "1", "2"} and selection.n_images == 4
    assert predictor.deployment.label.split(" + ")[0] == str(selection.steps[0].trial)
    begins = [line for line in first.lines if "begins with trial" in line]
    assert len(begins) == 1 and "ms an image" in begins[0] and "M parameters" in begins[0]
    for image in (data / "images").iterdir():
        image.unlink()
    again = study.predictor(ensemble="best", progress=Lines())
    assert again.deployment.label == predictor.deployment.label
    expected = predictor.probabilities([picture(1)])[0]
    assert np.array_equal(again.probabilities([picture(1)])[0], expected)


def test_damaged_selection_is_one_error(tmp_path: Path) -> None:
    path = tmp_path / "ensemble-1.json"
    path.write_text('{"format": 1, "candidates": {}, "tta": false, "n_images": 1, "steps": []}')
    with pytest.raises(ConfigError, match=r"ensemble-1\.json: no selection that can be read"):
        read_selection(path)
