"""Trainings on tiles: equal to whole images where those fit, and scored at each image's size."""

from hashlib import sha256
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from harness.config.data import StudyDataConfig
from harness.core.errors import ConfigError
from harness.core.paths import TrialPaths
from harness.core.records import TrialResult
from harness.data.files.resize import Fit
from harness.data.files.source import FolderSource
from harness.data.loading.image_cache import ImageCache, open_cache
from harness.data.splits.splits import SplitRow
from harness.data.windows.window import DecodedImages, decode_images
from harness.execution.protocol import Decision
from harness.training.loop.checkpoint import read_checkpoint, write_checkpoint
from harness.training.loop.fit import fit_trial
from harness.training.loop.image_setup import count_masks
from harness.training.loop.resume import checkpoint_identity, read_resumable
from harness.training.loop.setup import TrainingInputs
from harness.training.metrics.image_scores import read_scores
from harness.training.metrics.native_size import NativePredictor
from tests.training.conftest import Pictures, settings
from tests.training.loop.test_fit import LOSS, answering
from tests.training.loop.test_resume import lasting, leftovers, numbers

Shape = tuple[int, int]
NATIVE = StudyDataConfig(eval_size=40, metrics_at="native")
AT_EVAL_SIZE = StudyDataConfig(eval_size=40)


def disc(k: int, shape: Shape) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """An image of noise with a bright disc, and its mask of 0 and 255."""
    random = np.random.default_rng(k)
    image = random.integers(0, 90, (*shape, 3), dtype=np.uint8)
    mask = np.zeros(shape, np.uint8)
    centre = int(random.integers(8, shape[1] - 8)), int(random.integers(8, shape[0] - 8))
    cv2.circle(mask, centre, 6, 255, -1)
    image[mask > 0] += np.array([60, 120, 150], np.uint8)
    return image, mask


def make_pictures(folder: Path, shapes: list[Shape]) -> Pictures:
    """Images of these sizes: two in three for training, the others for validation."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    rows = []
    for k, shape in enumerate(shapes):
        names = (f"images/{k}.png", f"masks/{k}.png")
        for name, array in zip(names, disc(k, shape), strict=True):
            cv2.imwrite(str(folder / name), array)
        hashes = (sha256((folder / name).read_bytes()).hexdigest() for name in names)
        rows.append(SplitRow(k, *names, "val" if k % 3 == 2 else "train", names[0], *hashes))
    return Pictures(folder, rows, folder / "caches")


def train(
    pictures: Pictures,
    folder: Path,
    data: StudyDataConfig,
    *answers: Decision,
    **changes: Any,
) -> TrialResult:
    config = settings(**{"train__epochs": 2, **changes})
    return fit_trial(
        TrainingInputs(
            config,
            cache(pictures, data, config.data.height_width, config.data.whole_fit),
            pictures.names,
            TrialPaths(folder),
            seed=4,
            device=torch.device("cpu"),
            precision="fp32",
            windows=windows(pictures, data),
        ),
        objective=LOSS,
        on_epoch=answering(*answers) if answers else lambda _: "continue",
    )


def cache(pictures: Pictures, data: StudyDataConfig, size: Shape, fit: Fit) -> ImageCache:
    source = FolderSource(pictures.root)
    return open_cache(
        source, pictures.rows, data, size=size, fit=fit, folder=pictures.caches, max_pixels=1e6
    )


def windows(pictures: Pictures, data: StudyDataConfig) -> DecodedImages:
    return decode_images(FolderSource(pictures.root), pictures.rows, data, 1e6)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Pictures:
    """Images whose longer side is 32 px."""
    shapes = [(32, 32), (32, 24), (20, 32)] * 4
    return make_pictures(tmp_path_factory.mktemp("small"), shapes)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Pictures:
    """Images up to six times as large as a tile of 32 px, and one that fits."""
    shapes = [(70, 50), (96, 64), (40, 90), (33, 32), (64, 64), (50, 70), (30, 28)]
    return make_pictures(tmp_path_factory.mktemp("large"), [*shapes, (64, 100), (90, 64)])


@pytest.mark.parametrize("data", [AT_EVAL_SIZE, NATIVE], ids=["eval_size", "native"])
@pytest.mark.parametrize("normalize", ["imagenet", "per_image"])
def test_tile_no_smaller_than_the_images_gives_the_numbers_of_padded_images(
    small: Pictures, tmp_path: Path, data: StudyDataConfig, normalize: str
) -> None:
    changes = {"data__normalize": normalize, "data__augment": "medium"}
    whole = train(small, tmp_path / "whole", data, data__fit="pad", **changes)
    tiles = train(small, tmp_path / "tiles", data, data__tile__size=32, **changes)
    assert numbers(tmp_path / "tiles") == numbers(tmp_path / "whole")
    assert lasting(tiles) == lasting(whole)
    assert leftovers(tmp_path / "tiles") == leftovers(tmp_path / "whole")


def test_masks_of_tiles_are_counted_at_native_size(large: Pictures) -> None:
    """Whole images at the size of a tile would lose small objects, and are not decoded."""
    config = settings(data__tile__size=16)
    images = cache(large, NATIVE, (16, 16), config.data.whole_fit)
    source = windows(large, NATIVE)
    counts = count_masks(config, images, source, images.train)
    assert counts.class_pixels[:, 1].tolist() == [source.masks[i].sum() for i in images.train]
    assert counts.class_pixels[:, 1].all()


def test_training_on_tiles_continues_bit_by_bit(large: Pictures, tmp_path: Path) -> None:
    changes = {"data__tile__size": 32, "train__epochs": 3, "train__checkpoint_s": 0.0}
    whole = train(large, tmp_path / "whole", NATIVE, **changes)
    parted = tmp_path / "parted"
    assert train(large, parted, NATIVE, "continue", "stop", **changes).outcome == "stopped"
    again = train(large, parted, NATIVE, **changes)
    assert numbers(parted) == numbers(tmp_path / "whole")
    assert lasting(again) == lasting(whole)


def test_every_pixel_of_a_validation_image_is_scored_once(large: Pictures, tmp_path: Path) -> None:
    train(large, tmp_path, NATIVE, data__tile__size=32)
    scores = read_scores(TrialPaths(tmp_path).scores_csv)
    source = windows(large, NATIVE)
    pixels = [int(np.prod(source.shape(row)[:2])) for row in scores.row.tolist()]
    assert (scores.tp + scores.fp + scores.fn + scores.tn).tolist() == pixels
    assert len(pixels) == 3


@pytest.mark.parametrize("tile", [{}, {"data__tile__size": 32}, {"data__tile__size": 16}])
@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_metrics_at_native_size_are_those_of_the_saved_network(
    large: Pictures, tmp_path: Path, tile: dict[str, Any], scale: float
) -> None:
    changes = tile | ({"data__tile__scale": scale} if tile else {})
    train(large, tmp_path, NATIVE, **changes)
    scores, source = read_scores(TrialPaths(tmp_path).scores_csv), windows(large, NATIVE)
    config = settings(**{"train__epochs": 2, **changes})
    predictor = NativePredictor(TrialPaths(tmp_path).model, config, NATIVE, torch.device("cpu"))
    for n, row in enumerate(scores.row.tolist()):
        (p,) = predictor([source.images[row]])
        truth = source.masks[row] == 1
        assert scores.sum_p[n] == pytest.approx(float(p.astype(np.float64).sum()), rel=1e-5)
        assert scores.sum_py[n] == pytest.approx(float(p[0][truth].sum()), rel=1e-4)
        assert scores.tp[n] == ((p[0] >= 0.5) & truth).sum()


def test_tiles_of_larger_images_need_metrics_at_native_size(
    large: Pictures, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"3 validation images larger than a tile, but metrics"):
        train(large, tmp_path, AT_EVAL_SIZE, data__tile__size=32)


def test_probabilities_are_kept_at_eval_size(large: Pictures, tmp_path: Path) -> None:
    train(large, tmp_path, NATIVE, data__tile__size=32)
    kept = sorted(TrialPaths(tmp_path).probabilities.glob("*.png"))
    assert len(kept) == 3
    assert all(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE).shape == (40, 40) for path in kept)


def test_checkpoint_of_a_version_without_tiles_is_continued(
    small: Pictures, tmp_path: Path
) -> None:
    """Settings that a version added later have their defaults in its checkpoints."""
    changes = {"train__epochs": 3, "train__checkpoint_s": 0.0}
    train(small, tmp_path, AT_EVAL_SIZE, "continue", "stop", **changes)
    paths = TrialPaths(tmp_path)
    state = read_checkpoint(paths)
    assert state is not None
    old = state["identity"]["config"]
    for key in [key for key in old if key.startswith("data.tile.") or key == "data.sampling"]:
        del old[key]
    write_checkpoint(paths, state)
    expected = checkpoint_identity(settings(**changes), 4)
    resumable = read_resumable(paths, expected)
    assert resumable is not None
    assert len(resumable.log) == 2
    assert read_resumable(paths, checkpoint_identity(settings(**changes), 5)) is None
    tiled = settings(data__tile__size=32, **changes)
    assert read_resumable(paths, checkpoint_identity(tiled, 4)) is None
