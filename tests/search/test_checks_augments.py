"""Augmentations are tried at the image sizes that can be sampled together with them."""

from pathlib import Path
from typing import Any

import albumentations as A  # noqa: N812
import pytest

from harness.core.errors import ConfigError
from harness.core.paths import StudyPaths, Workspace
from harness.search.definition.augment_checks import check_augments
from tests.search.fakes import definition_of

SIZE, AUGMENT = "data.image_size", "data.augment"


def check(root: Path, space: dict[str, Any], **config: Any) -> list[str]:
    for name, size in (("crop64.yaml", (64, 64)), ("crop96.yaml", (96, 96))):
        A.save(A.Compose([A.RandomResizedCrop(size=size)]), root / name, data_format="yaml")
    definition = definition_of(space, **config)
    found = check_augments(definition, Workspace(root), StudyPaths(root / "studies" / "x"))
    return [path.name for path in found]


def searched(**more: Any) -> dict[str, Any]:
    augment = {"choices": ["light", "crop64.yaml", "crop96.yaml"]}
    return {"parameters": {AUGMENT: augment, SIZE: {"choices": [64, 96]}} | more}


def test_the_fixed_size_is_tried(tmp_path: Path) -> None:
    space = {"fixed": {SIZE: 96, AUGMENT: "crop96.yaml"}}
    assert check(tmp_path, space) == ["crop96.yaml"]
    with pytest.raises(ConfigError, match=r"crop64\.yaml: RandomResizedCrop gives 64 x 64"):
        check(tmp_path, {"fixed": {SIZE: [96, 96], AUGMENT: "crop64.yaml"}})


def test_every_size_that_is_searched_is_tried(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gives 64 x 64 .* is 96 x 96"):
        check(tmp_path, searched())
    ranged = {SIZE: {"low": 64, "high": 96, "step": 32}}
    with pytest.raises(ConfigError, match=r"gives 64 x 64 .* is 96 x 96"):
        check(tmp_path, {"parameters": ranged, "fixed": {AUGMENT: "crop64.yaml"}})


def test_sizes_that_are_never_drawn_beside_it_are_left_out(tmp_path: Path) -> None:
    forbid = [{AUGMENT: "crop64.yaml", SIZE: 96}, {AUGMENT: "crop96.yaml", SIZE: 64}]
    files = ["crop64.yaml", "crop96.yaml"]
    assert check(tmp_path, searched() | {"forbid": forbid}) == files
    with pytest.raises(ConfigError, match=r"gives 96 x 96 .* is 64 x 64"):
        check(tmp_path, searched() | {"forbid": forbid[:1]})


def test_conditions_part_sizes_and_augmentations(tmp_path: Path) -> None:
    """The size is searched with `light` only; with the file it is the fixed default of 256."""
    A.save(A.Compose([A.Resize(256, 256)]), tmp_path / "to256.yaml", data_format="yaml")
    parameters = {
        AUGMENT: {"choices": ["light", "to256.yaml"]},
        SIZE: {"choices": [64, 96], "when": {AUGMENT: "light"}},
    }
    assert check(tmp_path, {"parameters": parameters}) == ["to256.yaml"]


def test_rows_are_taken_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text(
        f"{AUGMENT},{SIZE}\ncrop64.yaml,64\ncrop96.yaml,96\n", encoding="utf-8"
    )
    rows = [{AUGMENT: "crop64.yaml", SIZE: 64}, {AUGMENT: "crop96.yaml", SIZE: 96}]
    assert check(tmp_path, {"rows": rows}) == ["crop64.yaml", "crop96.yaml"]
    with pytest.raises(ConfigError, match=r"gives 64 x 64 .* is 96 x 96"):
        check(tmp_path, {"rows": [*rows, {AUGMENT: "crop64.yaml", SIZE: 96}]})


def test_the_task_of_the_study_is_tried(tmp_path: Path) -> None:
    A.save(
        A.Compose([A.CoarseDropout(fill_mask=2, p=0.1)]), tmp_path / "two.yaml", data_format="yaml"
    )
    space = {"fixed": {SIZE: 64, AUGMENT: "two.yaml"}}
    three = {"task": "multiclass", "classes": ["a", "b", "c"]}
    assert check(tmp_path, space, data=three) == ["two.yaml"]
    with pytest.raises(ConfigError, match="CoarseDropout writes 2 into masks"):
        check(tmp_path, space)
