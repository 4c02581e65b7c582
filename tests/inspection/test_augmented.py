"""The sheet of augmented pairs."""

from pathlib import Path

import numpy as np
import pytest

from harness.errors import ConfigError
from harness.inspection.augmented import augmented, sheet
from tests.data.make import folder
from tests.inspection.datasets import overview


def test_a_row_for_each_pair(tmp_path: Path) -> None:
    gallery = augmented(overview(folder(tmp_path, 8)), "medium")
    assert (gallery.n, gallery.together, len(gallery.panels)) == (6, 6, 36)
    assert sheet(gallery).shape == (6 * 256, 6 * 256, 3)
    first = [panel.picture for panel in gallery.panels[:6]]
    # chance leaves 2 in 100 as they are
    assert sum(not np.array_equal(first[0], other) for other in first[1:]) >= 4


def test_none_changes_nothing(tmp_path: Path) -> None:
    gallery = augmented(overview(folder(tmp_path, 1)), "none")
    assert len({panel.picture.tobytes() for panel in gallery.panels}) == 1


def test_unknown_preset(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean medium"):
        augmented(overview(folder(tmp_path, 1)), "medum")
