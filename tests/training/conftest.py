import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import pytest
import torch

from harness.config.data import SplitConfig, StudyDataConfig
from harness.config.study import TrialConfig
from harness.data.datasets.sources import open_dataset
from harness.data.files.resize import Fit
from harness.data.files.source import FolderSource
from harness.data.loading.image_cache import ImageCache, open_cache
from harness.data.scan.scan import scan_dataset_strict
from harness.data.splits.splits import SplitRow, make_split
from harness.data.windows.window import DecodedImages, decode_images

EVAL_SIZE = 40


@dataclass(frozen=True)
class Pictures:
    """Generated images of several sizes, split and cached."""

    root: Path
    rows: list[SplitRow]
    caches: Path

    @property
    def names(self) -> dict[int, str]:
        return {row.row: row.image for row in self.rows}

    def as_plain(self) -> dict[str, Any]:
        """For another process: JSON values."""
        rows = [dataclasses.asdict(row) for row in self.rows]
        return {"root": str(self.root), "rows": rows, "caches": str(self.caches)}

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> "Pictures":
        """What `as_plain` gave."""
        rows = [SplitRow(**row) for row in plain["rows"]]
        return cls(Path(plain["root"]), rows, Path(plain["caches"]))

    def cache(
        self,
        *,
        size: tuple[int, int] = (32, 32),
        fit: Fit = "stretch",
        eval_size: int = EVAL_SIZE,
        metrics_at: Literal["native"] | None = None,
    ) -> ImageCache:
        return open_cache(
            FolderSource(self.root),
            self.rows,
            StudyDataConfig(eval_size=eval_size, metrics_at=metrics_at),
            size=size,
            fit=fit,
            folder=self.caches,
            max_pixels=1e6,
        )

    def windows(self) -> DecodedImages:
        """The images of a cache at their own sizes."""
        rows = [row for row in self.rows if row.role != "test"]
        return decode_images(FolderSource(self.root), rows, StudyDataConfig(), 1e6)


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Pictures:
    """20 images with a bright disc on noise, 40 to 60 px, every fourth without a disc."""
    root = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(5)
    for folder in ("images", "masks"):
        (root / folder).mkdir()
    for k in range(20):
        height, width = random.integers(40, 60, 2).tolist()
        image = random.integers(0, 90, (height, width, 3), dtype=np.uint8)
        mask = np.zeros((height, width), np.uint8)
        if k % 4:
            centre = (int(random.integers(12, width - 12)), int(random.integers(12, height - 12)))
            cv2.circle(mask, centre, int(random.integers(5, 11)), 255, -1)
            image[mask > 0] += np.array([60, 120, 150], np.uint8)
        cv2.imwrite(str(root / "images" / f"{k:02d}.png"), image)
        cv2.imwrite(str(root / "masks" / f"{k:02d}.png"), mask)
    dataset = open_dataset(root, StudyDataConfig(), max_pixels=1e6)
    config = SplitConfig(fractions=(0.55, 0.35, 0.1), seed=6)
    rows = make_split(dataset, scan_dataset_strict(dataset), config)
    return Pictures(root, rows, tmp_path_factory.mktemp("caches"))


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Limit torch to one thread: sums are equal for the same number of threads only."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Train in one thread. Fixtures of a wider scope are set up before this one."""
    with one_torch_thread():
        yield


def settings(**changes: Any) -> TrialConfig:
    """A tiny trial; keys with __ for the dot."""
    return TrialConfig.from_flat(
        {
            "data.image_size": 32,
            "data.augment": "light",
            "model.arch": "Linknet",
            "model.encoder_name": "mobilenet_v2",
            "model.encoder_weights": None,
            "model.encoder_depth": 3,
            "train.epochs": 3,
            "train.batch_size": 4,
            **{key.replace("__", "."): value for key, value in changes.items()},
        }
    )
