"""Size of the metrics of a study that may use tiles."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from harness.core.paths import StudyPaths
from harness.data.splits.splits import SplitRow
from harness.search.definition.definition import StudyDefinition, resolve_definition
from harness.search.definition.scoring_size import resolve_metrics_size
from harness.space.space import AllowedValues


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Images of 64 x 40 and 30 x 30 px, and one for the test that is no image."""
    cv2.imwrite(str(tmp_path / "0.png"), np.zeros((40, 64, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "1.png"), np.zeros((30, 30, 3), np.uint8))
    (tmp_path / "2.png").write_text("sealed")
    return tmp_path


def split() -> list[SplitRow]:
    roles = ("train", "val", "test")
    return [SplitRow(n, f"{n}.png", "", role, "", "", "") for n, role in enumerate(roles)]


def define(root: Path, parameters: dict[str, Any], **overrides: Any) -> StudyDefinition:
    space = {"parameters": {"optim.lr": {"low": 1e-5, "high": 1e-2}} | parameters}
    return resolve_definition(
        StudyPaths(root / "s"),
        space=space,
        legal=AllowedValues(),
        overrides=overrides,
        fixed={},
    )


def metrics_at(root: Path, parameters: dict[str, Any], **overrides: Any) -> str | None:
    definition = define(root, parameters, **overrides)
    return resolve_metrics_size(definition, root, split()).config.data.metrics_at


def test_study_of_whole_images_is_scored_at_eval_size(root: Path) -> None:
    assert metrics_at(root, {}) is None


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [([64], None), ([63], "native"), ([None, 128], None), ([None, 32, 128], "native")],
)
def test_study_with_a_tile_smaller_than_an_image_is_scored_at_native_size(
    root: Path, sizes: list[int | None], expected: str | None
) -> None:
    assert metrics_at(root, {"data.tile.size": {"choices": sizes}}) == expected


def test_study_with_tiles_of_another_scale_is_scored_at_native_size(root: Path) -> None:
    tiles = {
        "data.tile.size": {"choices": [128]},
        "data.tile.scale": {"choices": [0.5, 1.0]},
    }
    assert metrics_at(root, tiles) == "native"


@pytest.mark.parametrize("chosen", ["native", "eval_size"])
def test_size_that_the_study_sets_stays(root: Path, chosen: str) -> None:
    tiles = {"data.tile.size": {"choices": [32]}}
    assert metrics_at(root, tiles, data={"metrics_at": chosen}) == chosen


def test_whole_images_and_tiles_stand_in_one_space(root: Path) -> None:
    definition = define(
        root,
        {
            "data.tile.size": {"choices": [None, 32]},
            "data.image_size": {"choices": [32, 64], "when": {"data.tile.size": None}},
            "data.tile.scale": {"choices": [0.5, 1.0], "when": {"data.tile.size": 32}},
        },
    )
    whole = {"optim.lr": 1e-3, "data.tile.size": None, "data.image_size": 64}
    tiled = {"optim.lr": 1e-3, "data.tile.size": 32, "data.tile.scale": 0.5}
    assert definition.trial_config(whole).data.height_width == (64, 64)
    assert definition.trial_config(tiled).data.height_width == (32, 32)
