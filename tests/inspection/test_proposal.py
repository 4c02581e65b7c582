"""A data: block that fits what the files hold."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from harness.config.data import StudyDataConfig
from harness.core import strict_yaml
from harness.data.datasets.sources import Dataset, ImageMaskPair
from harness.data.files.headers import ImageFileInfo, Mode
from harness.data.files.mask_values import MaskValues
from harness.data.files.source import FolderSource
from harness.data.scan.pair_scan import BadPair
from harness.data.scan.scan import DatasetScan
from harness.inspection.proposal import as_yaml, propose_data_config
from tests.data.make import folder, save
from tests.inspection.datasets import overview


def of_values(
    *values: str, kind: str = "indexed", stored: ImageFileInfo | None = None
) -> DatasetScan:
    """One pair that cannot be read with the defaults, and what its files hold."""
    pair = ImageMaskPair("a", Path("images/a.png"), (Path("masks/a.png"),))
    held = MaskValues(kind, values)  # type: ignore[arg-type]
    bad = BadPair(pair, "masks/a.png: not two-valued", held, stored or ImageFileInfo())
    return DatasetScan(
        Dataset("d", FolderSource(Path("d")), (), StudyDataConfig(root="d"), 1e6), (), (bad,)
    )


def test_two_valued_masks_keep_the_defaults(tmp_path: Path) -> None:
    seen = overview(folder(tmp_path, 2))
    assert propose_data_config(seen) == seen.dataset.data


def test_indices_are_classes_and_255_is_ignored() -> None:
    found = propose_data_config(of_values("0", "1", "2", "3", "255"))
    assert (found.task, found.ignore_index, found.values) == ("multiclass", 255, None)
    assert found.classes == ("class 0", "class 1", "class 2", "class 3")


def test_indices_with_gaps_need_a_table() -> None:
    found = propose_data_config(of_values("0", "128", "255"))
    assert found.task == "multiclass"
    assert found.values == {"0": "class 0", "128": "class 1", "255": "class 2"}


def test_zero_one_and_255_is_binary_with_ignored_pixels() -> None:
    found = propose_data_config(of_values("0", "1", "255"))
    assert found.task == "binary" and found.has_ignored_pixels
    assert found.values == {"0": "background", "1": "foreground", "255": "ignore"}


def test_two_odd_values_are_named() -> None:
    found = propose_data_config(of_values("10", "20", kind="two-valued"))
    assert found.values == {"10": "background", "20": "foreground"}


def test_colours_are_named() -> None:
    found = propose_data_config(of_values("#000000", "#00ff00", "#ff0000", kind="colours"))
    assert found.task == "multiclass"
    assert list(found.values or {}) == ["#000000", "#00ff00", "#ff0000"]


def test_what_cannot_be_told_is_left() -> None:
    assert propose_data_config(of_values(kind="grey")) == StudyDataConfig(root="d")


@pytest.mark.parametrize(
    ("mode", "bits", "channels", "high"),
    [("RGBA", 8, 3, 255.0), ("grey", 8, 1, 255.0), ("grey", 16, 1, 65535.0)],
)
def test_channels_and_range(mode: Mode, bits: int, channels: int, high: float) -> None:
    found = propose_data_config(
        of_values("0", "255", kind="two-valued", stored=ImageFileInfo("PNG", mode, bits))
    )
    assert (found.channels, found.range) == (channels, (0.0, high))


def test_block_reads_back() -> None:
    found = propose_data_config(of_values("0", "1", "255"))
    block = strict_yaml.load_yaml(as_yaml(found), source="x").value["data"]
    assert StudyDataConfig.model_validate(block) == found


def test_indexed_files_are_proposed_from_disk(tmp_path: Path) -> None:
    folder(tmp_path, 1)
    mask = np.array(cv2.resize(np.arange(3, dtype=np.uint8)[None], (32, 24), interpolation=0))
    save(tmp_path / "masks/000.png", mask)
    found = propose_data_config(overview(tmp_path))
    assert (found.task, len(found.classes)) == ("multiclass", 3)
