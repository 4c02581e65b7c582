"""Logits by windows, against a loop in NumPy and MONAI's sliding window."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor, nn

from harness.data.windows.grid import WindowGrid
from harness.data.windows.tiles import TileGeometry
from harness.data.windows.window import DecodedImages
from harness.training.metrics.sliding_window import iterate_logits

SHAPES = [(150, 131), (64, 64), (40, 200), (64, 65), (30, 20)]


def network(outputs: int = 2) -> nn.Module:
    """Convolutions that see beyond a pixel, so that windows differ where they overlap."""
    torch.manual_seed(3)
    layers = nn.Conv2d(3, 8, 7, padding=3), nn.Tanh(), nn.Conv2d(8, outputs, 5, padding=2)
    return nn.Sequential(*layers).eval()


def picture(shape: tuple[int, int], seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)


def apply(net: nn.Module, images: NDArray[Any]) -> Tensor:
    with torch.no_grad():
        out: Tensor = net(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255)
    return out


def assemble(
    net: nn.Module, image: NDArray[np.uint8], geometry: TileGeometry, batch_size: int = 3
) -> NDArray[np.float32]:
    bands = iterate_logits(
        DecodedImages([image], []), 0, geometry, lambda x, _: apply(net, x), batch_size
    )
    rows = 0
    parts = []
    for top, logits in bands:
        assert top == rows
        rows += logits.shape[2]
        parts.append(logits[0].numpy())
    return np.concatenate(parts, axis=1)


def ten_line_loop(
    net: nn.Module, image: NDArray[np.uint8], side: int, step: int
) -> NDArray[np.float64]:
    """Weighted mean over windows, written down without any of our functions."""
    h, w = max(image.shape[0], side), max(image.shape[1], side)
    padded = np.zeros((h, w, 3), np.uint8)
    padded[: image.shape[0], : image.shape[1]] = image
    line = np.exp(-0.5 * ((np.arange(side) - (side - 1) / 2) / (side / 8)) ** 2)
    total, weight = np.zeros((2, h, w)), np.zeros((h, w))
    for y in sorted({min(k, h - side) for k in range(0, h - side + step, step)}):
        for x in sorted({min(k, w - side) for k in range(0, w - side + step, step)}):
            logits = apply(net, padded[None, y : y + side, x : x + side])[0].numpy()
            total[:, y : y + side, x : x + side] += logits * np.outer(line, line)
            weight[y : y + side, x : x + side] += np.outer(line, line)
    return (total / weight)[:, : image.shape[0], : image.shape[1]]


def sigmoid(x: NDArray[Any]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-x.astype(np.float64)))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("overlap", "step"), [(0.5, 32), (0.25, 48), (0.0, 64)])
def test_probabilities_equal_those_of_a_loop(
    shape: tuple[int, int], overlap: float, step: int
) -> None:
    net, image = network(), picture(shape)
    ours = assemble(net, image, TileGeometry(64, 64, overlap))
    assert ours.shape == (2, *shape)
    np.testing.assert_allclose(
        sigmoid(ours), sigmoid(ten_line_loop(net, image, 64, step)), atol=1e-6
    )


@pytest.mark.parametrize("overlap", [0.5, 0.25])
def test_probabilities_equal_those_of_monai(overlap: float) -> None:
    inferers = pytest.importorskip("monai.inferers", reason="MONAI is not installed")
    net, image = network(), picture((150, 131))
    line = np.exp(-0.5 * ((np.arange(64) - 31.5) / 8) ** 2)
    with torch.no_grad():
        theirs = inferers.sliding_window_inference(
            torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255,
            (64, 64),
            4,
            net,
            overlap=overlap,
            roi_weight_map=torch.from_numpy(np.outer(line, line)).float(),
        )
    ours = assemble(net, image, TileGeometry(64, 64, overlap))
    np.testing.assert_allclose(sigmoid(ours), sigmoid(theirs[0].numpy()), atol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 2, 16])
def test_batch_size_changes_rounding_only(batch_size: int) -> None:
    net, image = network(), picture((150, 131))
    one, other = (assemble(net, image, TileGeometry(64, 64, 0.5), n) for n in (3, batch_size))
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_tiles_without_overlap_that_divide_the_image_are_separate_images() -> None:
    net, image = network(), picture((128, 192))
    ours = assemble(net, image, TileGeometry(64, 64, 0.0))
    for y in (0, 64):
        for x in (0, 64, 128):
            alone = apply(net, image[None, y : y + 64, x : x + 64])[0].numpy()
            np.testing.assert_allclose(ours[:, y : y + 64, x : x + 64], alone, atol=1e-5)
            decided = ours[:, y : y + 64, x : x + 64] >= 0
            np.testing.assert_array_equal(decided, alone >= 0)


def test_windows_of_half_the_scale_are_resized_there_and_back() -> None:
    """One window of 128 px, shown to the network with 64 px."""
    net, image = network(), picture((128, 100))
    ours = assemble(net, image, TileGeometry(64, 128, 0.5))
    small = image.reshape(64, 2, 50, 2, 3).astype(np.float64).mean(axis=(1, 3))
    inputs = np.zeros((1, 64, 64, 3), np.uint8)
    inputs[0, :, :50] = np.floor(small + 0.5)  # OpenCV rounds halves up here
    logits = apply(net, inputs)[:, :, :, :50]
    expected = F.interpolate(logits, size=(128, 100), mode="bilinear", align_corners=False)
    np.testing.assert_allclose(ours, expected[0].numpy(), atol=2e-2)


def test_no_more_than_a_row_of_windows_is_read_before_its_band_is_yielded() -> None:
    read: list[int] = []

    class Counting(DecodedImages):
        def read_image(self, row: int, window: Any) -> NDArray[Any]:
            read.append(window.top)
            return super().read_image(row, window)

    source = Counting([picture((300, 100))], [])
    geometry = TileGeometry(64, 64, 0.5)
    grid = WindowGrid(300, 100, 64, 0.5)
    net = network()
    bands = iterate_logits(source, 0, geometry, lambda x, _: apply(net, x), 2)
    for n, (top, _) in enumerate(bands):
        assert top == grid.tops[n]
        assert set(read) == set(grid.tops[: n + 1])
