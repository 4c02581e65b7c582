"""Multiclass and multilabel trials from the first epoch to what they leave, without decoding."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch

from harness.config.data import IGNORE_INDEX, StudyDataConfig
from harness.config.study import ObjectiveConfig
from harness.core.errors import ConfigError, DataError
from harness.core.paths import TrialPaths
from harness.core.records import TrialResult, read_epochs
from harness.data.files.overlay import draw_class_overlay, wrong_pixels
from harness.data.loading.image_cache import ImageCache
from harness.training.loop.artifacts import foreground_indices, probability_indices
from harness.training.loop.fit import fit_trial
from harness.training.loop.setup import TrainingInputs
from harness.training.loss.task_checks import check_objective_for_task
from harness.training.metrics.image_scores import read_scores, summarise_scores
from tests.training.conftest import settings

SIZE, N, N_TRAIN = 32, 16, 10
CLASSES = ("background", "disc", "bar")
MULTICLASS = StudyDataConfig(
    task="multiclass",
    classes=CLASSES,
    ignore_index=9,
    channels=4,
    range=(0.0, 4095.0),
    eval_size=SIZE,
)
MULTILABEL = StudyDataConfig(task="multilabel", classes=CLASSES[1:], channels=1, eval_size=SIZE)


def scene(k: int) -> np.ndarray:
    """Planes of a disc and a bar that crosses it, (32, 32, 2) in {0, 1}."""
    random = np.random.default_rng(k)
    planes = np.zeros((2, SIZE, SIZE), np.uint8)
    cv2.circle(planes[0], tuple(random.integers(8, 24, 2).tolist()), 7, 1, -1)
    if k % 3:
        planes[1, :, 3 * (k % 8) : 3 * (k % 8) + 5] = 1
    return planes.transpose(1, 2, 0)


def cache_for(data: StudyDataConfig) -> ImageCache:
    planes = np.stack([scene(k) for k in range(N)])
    wide = planes.astype(np.int64)
    random = np.random.default_rng(0)
    shade = 400 + 1500 * wide[..., :1] + 2000 * wide[..., 1:]
    images = (shade + random.integers(0, 100, (N, SIZE, SIZE, data.channels))).astype(np.uint16)
    if data.range[1] <= 255:
        images = (images // 16).astype(np.uint8)
    truths = planes
    if data.task == "multiclass":
        truths = np.where(planes[..., 1] > 0, 2, planes[..., 0]).astype(np.uint8)
        truths[:, :4] = IGNORE_INDEX
    return ImageCache(
        images=images,
        masks=truths,
        boxes=np.array([(0, 0, SIZE, SIZE)] * N),
        truths=truths,
        row_of=np.arange(N),
        train=np.arange(N_TRAIN),
        val=np.arange(N_TRAIN, N),
        data=data,
    )


def train(folder: Path, data: StudyDataConfig, **changes: Any) -> TrialResult:
    loss = {"loss__bce": 0.0, "loss__ce": 1.0} if data.task == "multiclass" else {}
    values = {"data__augment": "none", "optim__lr": 3e-3, **loss, **changes}
    return fit_trial(
        TrainingInputs(
            settings(**values),
            cache_for(data),
            {row: f"{row}.png" for row in range(N)},
            TrialPaths(folder),
            seed=3,
            device=torch.device("cpu"),
            precision="fp32",
        ),
        objective=ObjectiveConfig(),
        on_epoch=lambda _: "continue",
    )


def grey(path: Path) -> np.ndarray:
    picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert picture is not None
    return picture


def test_multiclass_trial_from_16_bit_images_of_four_channels(tmp_path: Path) -> None:
    result = train(tmp_path, MULTICLASS, train__epochs=6)
    paths, cache = TrialPaths(tmp_path), cache_for(MULTICLASS)
    losses = [line["train/loss"] for line in read_epochs(paths)]
    assert losses[-1] < 0.8 * losses[0]
    scores = read_scores(paths.scores_csv)
    assert len(scores) == 3 * (N - N_TRAIN)
    summary = summarise_scores(scores, MULTICLASS)
    assert {f"best/{k.removeprefix('val/')}": v for k, v in summary.items()} == result.best
    assert {"best/miou", "best/dice/disc", "best/iou/background"} <= set(result.best)
    for row in range(N_TRAIN, N):
        truth, decided = cache.truths[row], grey(paths.class_map(row))
        planes = [grey(paths.probability(row, k)) for k in range(3)]
        assert len(list(paths.probabilities.glob(f"{row}-*"))) == 4
        for k in range(3):
            (entry,) = np.flatnonzero((scores.row == row) & (scores.class_index == k))
            both = (decided == k) & (truth == k)
            assert scores.tp[entry] == both.sum()
            assert (planes[k][decided == k] >= np.max(planes, axis=0)[decided == k]).all()


@pytest.mark.parametrize("data", [MULTICLASS, MULTILABEL], ids=["multiclass", "multilabel"])
def test_saved_model_gives_an_output_for_each_class(data: StudyDataConfig, tmp_path: Path) -> None:
    train(tmp_path, data, train__epochs=1)
    network: Any = smp.from_pretrained(TrialPaths(tmp_path).model).eval()
    with torch.no_grad():
        logits = network(torch.zeros(1, data.channels, 32, 64))
    assert logits.shape == (1, data.n_outputs, 32, 64)


def test_multilabel_trial_leaves_a_picture_of_each_class(tmp_path: Path) -> None:
    result = train(tmp_path, MULTILABEL, train__epochs=2, data__normalize="per_image")
    paths = TrialPaths(tmp_path)
    scores = read_scores(paths.scores_csv)
    assert "best/miou" not in result.best and "best/dice/bar" in result.best
    assert sorted(path.name for path in paths.probabilities.iterdir()) == sorted(
        f"{row}-{k}.png" for row in range(N_TRAIN, N) for k in (0, 1)
    )
    for i in range(len(scores)):
        said = grey(paths.probability(int(scores.row[i]), int(scores.class_index[i]))) >= 128
        assert said.sum() == scores.tp[i] + scores.fp[i]


def test_overlays_show_truth_beside_prediction(tmp_path: Path) -> None:
    train(tmp_path, MULTICLASS, train__epochs=1)
    paths, cache = TrialPaths(tmp_path), cache_for(MULTICLASS)
    row = N_TRAIN
    drawn = cv2.imread(str(paths.overlay(1, row)), cv2.IMREAD_COLOR_RGB)
    assert drawn is not None and drawn.shape == (SIZE, 2 * SIZE + 4, 3)
    image = np.rint(np.clip(cache.images[row, ..., :3] / 4095.0 * 255, 0, 255)).astype(np.uint8)
    truth, decided = cache.truths[row], grey(paths.class_map(row))
    expected = draw_class_overlay(image, truth, plain={0})
    assert np.abs(drawn[:, :SIZE].astype(int) - expected).max() <= 1
    wrong, decided[truth == IGNORE_INDEX] = wrong_pixels(truth, decided), IGNORE_INDEX
    expected = draw_class_overlay(image, decided, wrong=wrong, plain={0})
    assert np.abs(drawn[:, SIZE + 4 :].astype(int) - expected).max() <= 1


@pytest.mark.parametrize(
    ("key", "data", "second"),
    [
        ("loss__ce", MULTICLASS, 0.25),
        ("loss__class_weights", MULTICLASS, [1.0, 5.0, 0.0]),
        ("loss__class_weights", MULTILABEL, [1.0, 5.0]),
        ("loss__label_smoothing", MULTICLASS, 0.2),
        ("loss__focal", MULTICLASS, 1.0),
        ("loss__lovasz", MULTICLASS, 1.0),
        ("loss__lovasz", MULTILABEL, 1.0),
    ],
)
def test_setting_acts_in_its_task(
    key: str, data: StudyDataConfig, second: Any, tmp_path: Path
) -> None:
    plain = train(tmp_path / "without", data, train__epochs=1)
    other = train(tmp_path / "with", data, train__epochs=1, **{key: second})
    assert plain.value != other.value


def test_loss_of_another_task_stops_the_trial(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"loss\.bce: acts in two-class and multilabel tasks"):
        train(tmp_path, MULTICLASS, loss__bce=1.0)


@pytest.mark.parametrize(("data", "refused"), [(MULTICLASS, False), (MULTILABEL, True)])
def test_miou_is_an_objective_of_multiclass_tasks(data: StudyDataConfig, refused: bool) -> None:
    objective = ObjectiveConfig(metric="val/miou", direction="maximize")
    if not refused:
        check_objective_for_task(objective, data)
        return
    with pytest.raises(ConfigError, match=r"objective\.metric: val/miou is of multiclass tasks"):
        check_objective_for_task(objective, data)


def test_void_is_nothing_to_find() -> None:
    cache = cache_for(MULTICLASS)
    cache.truths[N_TRAIN] = IGNORE_INDEX
    assert foreground_indices(cache).tolist() == list(range(N_TRAIN + 1, N))
    two_class = ImageCache(**{**vars(cache), "data": StudyDataConfig(ignore_index=9)})
    two_class.truths[N_TRAIN + 1 :] = 0
    assert foreground_indices(two_class).tolist() == []


def test_split_without_a_pixel_that_counts_is_refused(tmp_path: Path) -> None:
    void = np.full((N, SIZE, SIZE), IGNORE_INDEX, np.uint8)
    cache = ImageCache(**{**vars(cache_for(MULTICLASS)), "truths": void})
    with pytest.raises(DataError, match="6 validation images of which 0 have any foreground"):
        fit_trial(
            TrainingInputs(
                settings(loss__bce=0.0, loss__ce=1.0),
                cache,
                {},
                TrialPaths(tmp_path),
                seed=0,
                device=torch.device("cpu"),
                precision="fp32",
            ),
            objective=ObjectiveConfig(),
            on_epoch=lambda _: "continue",
        )


@pytest.mark.parametrize(("n_classes", "expected"), [(2, 100), (7, 28), (150, 20)])
def test_fewer_images_are_kept_of_many_classes(n_classes: int, expected: int) -> None:
    classes = tuple(f"c{k}" for k in range(n_classes))
    data = StudyDataConfig(task="multiclass", classes=classes)
    cache = ImageCache(**{**vars(cache_for(MULTICLASS)), "val": np.arange(300), "data": data})
    kept = probability_indices(cache)
    assert len(kept) == expected and kept[0] == 0 and kept[-1] == 299
