import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from harness.config.data import IGNORE_INDEX, StudyDataConfig
from harness.data.files.resize import Fit
from harness.data.loading.image_cache import ImageCache
from harness.models.build import build_network
from harness.training.hardware.normalizer import ImageNormalizer
from harness.training.metrics.image_scores import scores_to_entries, summarise_scores
from harness.training.metrics.validation import (
    ValidationResult,
    disable_tf32,
    probabilities_from_logits,
    quantize_probabilities,
    validate_network,
)
from tests.training.conftest import Pictures, settings

PLAIN = ImageNormalizer((0.0,), (1.0,))
CPU = torch.device("cpu")


class Red(nn.Module):
    """Its logits are the red channel: (x - 0.5) * 8."""

    def __init__(self) -> None:
        super().__init__()
        self.modes: list[bool] = []

    def forward(self, x: Tensor) -> Tensor:
        self.modes.append(self.training)
        return (x[:, :1] - 0.5) * 8


def cache_of(
    images: np.ndarray,
    truths: np.ndarray,
    box: tuple[int, ...],
    data: StudyDataConfig = StudyDataConfig(),  # noqa: B008
) -> ImageCache:
    n = len(images)
    return ImageCache(
        images=images,
        masks=np.zeros(images.shape[:3], np.uint8),
        boxes=np.array([box] * n),
        truths=truths,
        row_of=np.arange(n) + 10,
        train=np.array([], np.int64),
        val=np.arange(n),
        data=data,
    )


def run(
    network: nn.Module, cache: ImageCache, batch_size: int = 2, **rest: object
) -> ValidationResult:
    names = {int(row): f"{row}.png" for row in cache.row_of}
    return validate_network(
        network,
        cache,
        cache.val,
        names=names,
        device=CPU,
        normalizer=PLAIN,
        batch_size=batch_size,
        **rest,  # type: ignore[arg-type]
    )


def test_sums_by_hand() -> None:
    """2 x 2 pixels at their own size; logits 4, -4, 0.0157, -4 against truth 1, 1, 0, 0."""
    image = np.zeros((1, 2, 2, 3), np.uint8)
    image[0, :, :, 0] = [[255, 0], [128, 0]]
    truth = np.array([[[1, 1], [0, 0]]], np.uint8)
    entry = scores_to_entries(run(Red(), cache_of(image, truth, (0, 0, 2, 2))).scores)[0]
    sure, doubt = 1 / (1 + math.exp(-4)), 1 / (1 + math.exp(-8 * (128 / 255 - 0.5)))
    assert entry[:3] == (10, "10.png", 1)
    expected_p = sure + 2 * (1 - sure) + doubt
    assert entry[3:6] == pytest.approx((sure + (1 - sure), expected_p, 2), abs=1e-6)
    assert entry[6:] == (1, 1, 1, 1), "half is decided to be foreground"


def test_padding_is_cut_off_the_logits() -> None:
    """What lies outside the box changes nothing."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    truths = random.integers(0, 2, (3, 12, 12), dtype=np.uint8)
    other = images.copy()
    other[:, 6:], other[:, :, 5:] = 255, 255
    box = (0, 0, 6, 5)
    padded, changed = (run(Red(), cache_of(x, truths, box)) for x in (images, other))
    cut = run(Red(), cache_of(images[:, :6, :5], truths, box))
    assert (
        scores_to_entries(padded.scores)
        == scores_to_entries(changed.scores)
        == scores_to_entries(cut.scores)
    )


def test_logits_are_enlarged_before_they_become_probabilities() -> None:
    logits = torch.tensor([[[[-6.0, 6.0]]]])
    p = probabilities_from_logits(logits, np.array([[0, 0, 1, 2]]), 4)
    expected = torch.sigmoid(torch.tensor([-6.0, -3.0, 3.0, 6.0]))
    torch.testing.assert_close(p[0], expected.expand(4, 4))


def test_probabilities_are_kept_as_bytes_that_keep_the_decision() -> None:
    below = float(np.nextafter(np.float32(0.5), np.float32(0)))
    p = torch.tensor([0.0, below, 0.5, 1.0])
    assert quantize_probabilities(p).tolist() == [0, 127, 128, 255]


def test_kept_probabilities_are_those_asked_for_by_row(pictures: Pictures) -> None:
    cache = pictures.cache()
    wanted = cache.val[[1, 3]]
    kept = run(Red(), cache, keep_indices=wanted).probabilities
    assert sorted(kept) == sorted(cache.row_of[wanted].tolist())
    assert all(p.shape == (40, 40) and p.dtype == np.uint8 for p in kept.values())
    red = torch.from_numpy(np.array(cache.images[wanted[0], :, :, 0])).float() / 255
    logits = F.interpolate((red[None, None] - 0.5) * 8, (40, 40), mode="bilinear")
    expected = torch.sigmoid(logits)[0, 0].numpy() * 255
    assert np.abs(kept[int(cache.row_of[wanted[0]])] - expected).max() <= 0.501


def test_every_image_is_scored_once_in_order_and_in_evaluation_mode(pictures: Pictures) -> None:
    cache, network = pictures.cache(), Red()
    network.train()
    result = run(network, cache, batch_size=3)
    assert result.scores.row.tolist() == cache.row_of[cache.val].tolist()
    assert result.scores.image == tuple(f"{row}.png" for row in result.scores.row)
    assert network.modes == [False] * math.ceil(len(cache.val) / 3)
    assert result.ms_per_image > 0


def test_scores_do_not_depend_on_the_batch_size(pictures: Pictures) -> None:
    cache = pictures.cache()
    torch.manual_seed(0)
    network = build_network(settings().model)
    summaries = [summarise_scores(run(network, cache, n).scores) for n in (1, 2, 5, 64)]
    assert "val/false_alarm_share" in summaries[0]
    for other in summaries[1:]:
        assert other == pytest.approx(summaries[0], abs=1e-8)


def test_truth_and_box_follow_the_image(pictures: Pictures) -> None:
    """Padded and stretched images of the truth itself give nearly the truth at eval_size."""
    fits: tuple[Fit, ...] = ("stretch", "pad")
    for fit in fits:
        cache = pictures.cache(size=(40, 40), fit=fit)
        seen = ImageCache(
            **{**vars(cache), "images": np.repeat(np.array(cache.masks)[..., None], 3, 3) * 255}
        )
        assert summarise_scores(run(Red(), seen).scores)["val/dice_micro"] > 0.9, fit


def test_exact_fp32_is_left_as_it_was_found() -> None:
    conv = torch.backends.cudnn.conv  # type: ignore[attr-defined]
    before = conv.fp32_precision
    with disable_tf32():
        assert conv.fp32_precision == "ieee"
        assert torch.backends.cuda.matmul.fp32_precision == "ieee"
    assert conv.fp32_precision == before


def test_names_come_from_the_mapping(pictures: Pictures) -> None:
    cache = pictures.cache()
    result = validate_network(
        Red(),
        cache,
        cache.val[:1],
        names=pictures.names,
        device=CPU,
        normalizer=PLAIN,
        batch_size=1,
    )
    row = int(cache.row_of[cache.val[0]])
    assert result.scores.image == (pictures.rows[row].image,)


class Echo(nn.Module):
    """Its logits are the channels of what it sees, times 8."""

    def forward(self, x: Tensor) -> Tensor:
        return 8 * x


def several(task: str, **more: object) -> StudyDataConfig:
    classes = ("sky", "road", "tree", "car")
    return StudyDataConfig(task=task, classes=classes, channels=4, **more)  # type: ignore[arg-type]


def test_multiclass_sums_equal_a_pixel_by_pixel_count() -> None:
    """Softmax, the largest decides, and void pixels are in no sum."""
    random = np.random.default_rng(3)
    images = random.integers(0, 256, (3, 6, 6, 4), dtype=np.uint8)
    truths = random.choice([0, 1, 3, IGNORE_INDEX], (3, 6, 6)).astype(np.uint8)
    data = several("multiclass", ignore_index=9)
    result = run(Echo(), cache_of(images, truths, (0, 0, 6, 6), data))
    entries = scores_to_entries(result.scores)
    assert [entry[:3] for entry in entries] == [
        (row, f"{row}.png", k) for row in (10, 11, 12) for k in range(4)
    ]
    p = torch.softmax(torch.tensor(8 * images.astype(np.float64) / 255), dim=3).numpy()
    for n, k in np.ndindex(3, 4):
        expected = np.zeros(7)
        for place in np.ndindex(6, 6):
            if (true := truths[n][place]) == IGNORE_INDEX:
                continue
            q, y, d = p[n][place][k], true == k, p[n][place].argmax() == k
            expected += [q * y, q, y, y and d, d and not y, y and not d, not y and not d]
        assert entries[4 * n + k][3:] == pytest.approx(tuple(expected), abs=1e-5), (n, k)


def test_multilabel_sums_are_those_of_each_plane_alone() -> None:
    random = np.random.default_rng(4)
    images = random.integers(0, 256, (3, 6, 6, 4), dtype=np.uint8)
    truths = random.integers(0, 2, (3, 6, 6, 4), dtype=np.uint8)
    box = (0, 0, 5, 6)
    both = scores_to_entries(
        run(Echo(), cache_of(images, truths, box, several("multilabel"))).scores
    )
    for k in range(4):
        one = cache_of(images[..., k : k + 1], np.ascontiguousarray(truths[..., k]), box)
        alone = scores_to_entries(run(Echo(), one).scores)
        assert [entry[3:] for entry in both[k::4]] == [entry[3:] for entry in alone]
        assert {entry[2] for entry in both[k::4]} == {k}


def test_binary_void_pixels_are_in_no_sum() -> None:
    random = np.random.default_rng(5)
    images = random.integers(0, 256, (1, 4, 4, 3), dtype=np.uint8)
    truth = random.integers(0, 2, (1, 4, 4), dtype=np.uint8)
    truth[:, 2:] = IGNORE_INDEX
    data = StudyDataConfig(ignore_index=7)
    above = run(Red(), cache_of(images, truth, (0, 0, 4, 4), data))
    ((*_, tp, fp, fn, tn),) = scores_to_entries(above.scores)
    assert tp + fp + fn + tn == 8
    p = 1 / (1 + np.exp(-8 * (images[0, :2, :, 0] / 255 - 0.5)))
    assert float(above.scores.sum_p[0]) == pytest.approx(p.sum(), abs=1e-5)
    assert float(above.scores.sum_py[0]) == pytest.approx((p * truth[0, :2]).sum(), abs=1e-5)


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_scores_of_several_classes_do_not_depend_on_how_they_are_batched(
    task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(6)
    images = random.integers(0, 256, (5, 8, 8, 4), dtype=np.uint8)
    shape = (5, 12, 12) if task == "multiclass" else (5, 12, 12, 4)
    truths = random.integers(0, 4 if task == "multiclass" else 2, shape, dtype=np.uint8)
    cache = cache_of(images, truths, (0, 0, 7, 8), several(task))
    whole = run(Echo(), cache, 5, keep_indices=cache.val)
    monkeypatch.setattr("harness.training.metrics.validation._MAX_PROBABILITIES", 1)
    for n in (1, 2, 5):
        other = run(Echo(), cache, n, keep_indices=cache.val)
        np.testing.assert_allclose(
            [entry[3:] for entry in scores_to_entries(other.scores)],
            [entry[3:] for entry in scores_to_entries(whole.scores)],
            rtol=1e-12,
        )
        assert all((other.probabilities[row] == p).all() for row, p in whole.probabilities.items())


def test_kept_decisions_are_those_that_were_counted() -> None:
    """Two classes as probable as each other in bytes: the decision is kept beside them."""
    images = np.zeros((1, 4, 4, 4), np.float32)
    images[..., 1], images[..., 2] = 0.5, 0.5001
    truth = np.full((1, 4, 4), 2, np.uint8)
    cache = cache_of(images, truth, (0, 0, 4, 4), several("multiclass"))
    result = run(Echo(), cache, keep_indices=cache.val)
    p = result.probabilities[10]
    assert p.shape == (4, 4, 4) and (p[1] == p[2]).all()
    assert result.decisions[10].dtype == np.uint8 and (result.decisions[10] == 2).all()
    assert scores_to_entries(result.scores)[2][6:] == (16, 0, 0, 0)


def test_kept_bytes_of_planes_keep_the_decision() -> None:
    random = np.random.default_rng(7)
    images = random.integers(0, 256, (1, 6, 6, 4), dtype=np.uint8)
    truth = random.integers(0, 2, (1, 6, 6, 4), dtype=np.uint8)
    cache = cache_of(images, truth, (0, 0, 6, 6), several("multilabel"))
    result = run(Echo(), cache, keep_indices=cache.val)
    assert result.decisions == {}
    said = result.probabilities[10] >= 128
    for k, entry in enumerate(scores_to_entries(result.scores)):
        assert entry[6] + entry[7] == said[k].sum()


class Keeping(nn.Module):
    """Keeps the grid of its last input's size, as networks with positions do."""

    grid: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("grid", torch.zeros(0))
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        if self.grid.shape != x[:, :1].shape:
            self.grid = torch.linspace(0, 1, x[:, :1].numel()).view(x[:, :1].shape)
        return x[:, :1] * self.weight * self.grid


def test_what_a_network_keeps_of_a_validation_can_be_trained_with() -> None:
    images = np.full((2, 4, 4, 3), 255, np.uint8)
    network = Keeping()
    run(network, cache_of(images, np.ones((2, 4, 4), np.uint8), (0, 0, 4, 4)))
    network(torch.ones(2, 3, 4, 4)).sum().backward()
    assert network.weight.grad is not None
    assert network.weight.grad.item() == pytest.approx(16.0), "32 values of mean 1/2"
    network.grid.copy_(torch.zeros_like(network.grid))  # as a checkpoint is loaded
