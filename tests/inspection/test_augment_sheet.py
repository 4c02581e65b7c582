"""The sheet of augmented pairs."""

from pathlib import Path

import albumentations as A  # noqa: N812 (its own convention)
import cv2
import numpy as np
import pytest

from harness.config.data import StudyDataConfig
from harness.core.errors import ConfigError
from harness.data.files.overlay import CLASS_COLOURS
from harness.inspection.augment_sheet import augmentation_gallery, gallery_sheet
from harness.inspection.panels import InspectionPanel
from tests.data.make import folder, picture, save, square
from tests.inspection.datasets import overview


def test_a_row_for_each_pair(tmp_path: Path) -> None:
    gallery = augmentation_gallery(overview(folder(tmp_path, 8)), "medium")
    assert (gallery.n, gallery.together, len(gallery.panels)) == (6, 6, 36)
    assert gallery_sheet(gallery).shape == (6 * 256, 6 * 256, 3)
    first = [panel.picture for panel in gallery.panels[:6]]
    # chance leaves 2 in 100 as they are
    assert sum(not np.array_equal(first[0], other) for other in first[1:]) >= 4


def test_none_changes_nothing(tmp_path: Path) -> None:
    gallery = augmentation_gallery(overview(folder(tmp_path, 1)), "none")
    assert len({panel.picture.tobytes() for panel in gallery.panels}) == 1


def test_unknown_preset(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean medium"):
        augmentation_gallery(overview(folder(tmp_path, 1)), "medum")


def first_row(
    root: Path, data: StudyDataConfig, name: str = "light"
) -> tuple[InspectionPanel, ...]:
    return augmentation_gallery(overview(root, data), name).panels[:6]


def test_indices_stay_what_they_are(tmp_path: Path) -> None:
    """One object of class 2: it is drawn in the colour of class 2, as in training."""
    save(tmp_path / "images/a.png", picture(1))
    save(tmp_path / "masks/a.png", 2 * square())
    data = StudyDataConfig(classes=("sky", "road", "car"), task="multiclass")
    for panel in first_row(tmp_path, data):
        n_drawn = [np.all(panel.picture == CLASS_COLOURS[k], axis=2).sum() for k in (1, 2)]
        assert n_drawn[0] == 0 and n_drawn[1] > 100


def test_16_bits_are_shown_in_their_range(tmp_path: Path) -> None:
    """The same picture in 8 bits and in 12 of 16: drawn alike, changed alike."""
    for name, stored in (("eight", picture(1)), ("deep", picture(1).astype(np.uint16) * 16)):
        path = tmp_path / name / "images/a.png"
        path.parent.mkdir(parents=True)
        path.write_bytes(cv2.imencode(".png", stored[:, :, ::-1])[1].tobytes())
        save(tmp_path / name / "masks/a.png", 255 * square())
    eight = first_row(tmp_path / "eight", StudyDataConfig())
    deep = first_row(tmp_path / "deep", StudyDataConfig(range=(0, 4080)))
    for one, other in zip(eight, deep, strict=True):
        assert np.abs(one.picture.astype(int) - other.picture).max() <= 3


def test_steps_for_colour_are_refused_where_there_is_none(tmp_path: Path) -> None:
    save(tmp_path / "images/a.png", picture(1)[:, :, 0])
    save(tmp_path / "masks/a.png", 255 * square())
    data = StudyDataConfig(channels=1)
    with pytest.raises(ConfigError, match=r"medium cannot take images of 1 channel \("):
        first_row(tmp_path, data, "medium")


def test_a_file_of_steps(tmp_path: Path) -> None:
    A.save(A.Compose([A.HorizontalFlip(p=1.0)]), tmp_path / "mine.yaml", data_format="yaml")
    gallery = augmentation_gallery(overview(folder(tmp_path / "d", 1)), "mine.yaml", tmp_path)
    plain, changed = (panel.picture.astype(int) for panel in gallery.panels[:2])
    assert np.abs(plain[:, ::-1] - changed).mean() < 3  # contours are drawn after the flip


def test_pairs_are_changed_at_the_size_that_is_given(tmp_path: Path) -> None:
    A.save(A.Compose([A.RandomResizedCrop((96, 64))]), tmp_path / "mine.yaml", data_format="yaml")
    shown = overview(folder(tmp_path / "d", 1))
    gallery = augmentation_gallery(shown, "mine.yaml", tmp_path, (96, 64))
    assert {panel.picture.shape for panel in gallery.panels} == {(96, 64, 3)}
    with pytest.raises(ConfigError, match="RandomResizedCrop gives 96 x 64 pixels"):
        augmentation_gallery(shown, "mine.yaml", tmp_path)
