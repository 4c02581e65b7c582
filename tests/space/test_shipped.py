"""Shipped search spaces: each explains itself, can be read, and all its networks can be built."""

from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
import torch

import harness
from harness.config.study import ModelConfig
from harness.core import strict_yaml
from harness.core.paths import StudyPaths, Workspace
from harness.models.build import build_network
from harness.models.registry import ARCHS, check_model
from harness.search.definition.definition import resolve_definition
from harness.search.definition.network_checks import legal_names
from harness.space.reading.load_space import read_space
from harness.space.space import SearchSpace

FOLDER = Path(__file__).parents[2] / "search_spaces"
NAMES = (
    "architectures",
    "attention_unet",
    "baselines",
    "encoder-search",
    "encoders",
    "hyperparameters",
    "quickstart",
    "unetpp",
)


def shipped(name: str) -> SearchSpace:
    return read_space(FOLDER / f"{name}.yaml", legal=legal_names())


def networks(space: SearchSpace) -> list[ModelConfig]:
    """All networks that the space can draw."""
    parts = tuple(p for p in space.parameters if p.key.startswith("model."))
    only = replace(space, parameters=parts, enqueue=())
    return [only.configuration(values).model for values in only.grid()]


def test_these_spaces_are_shipped() -> None:
    packaged = resources.files("harness") / "shipped_spaces"
    for folder in (FOLDER, packaged):
        named = [f"{name}.yaml" for name in NAMES]
        assert sorted(file.name for file in folder.iterdir()) == sorted([*named, "unetpp_grid.csv"])


@pytest.mark.parametrize("name", NAMES)
def test_first_line_is_a_question_and_the_command_that_answers_it(name: str) -> None:
    question, _, command = (
        (FOLDER / f"{name}.yaml").read_text(encoding="utf-8").splitlines()[0].partition("?")
    )
    assert question.startswith("# ")
    assert command.strip().startswith(f"harness run --space {name}.yaml ")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("quickstart", 3 * 2),
        ("attention_unet", 2**4),
        ("encoders", 4 * 3 * (2 + 1)),  # with U-Net++ two kinds of attention, with Linknet none
        ("unetpp", 3 * 2),
        ("baselines", 5),
        ("encoder-search", 4),
        ("hyperparameters", 1),
        ("architectures", 11 * 3 * 3 + 1),  # DPT has one encoder and one depth
    ],
)
def test_networks_are_as_many_as_the_file_says(name: str, expected: int) -> None:
    found = networks(shipped(name))
    assert len(found) == expected
    for model in found:
        check_model(model)


def test_architectures_holds_all_there_are() -> None:
    assert {model.arch for model in networks(shipped("architectures"))} == set(ARCHS)


def test_quickstart_needs_no_download() -> None:
    assert {model.encoder_weights for model in networks(shipped("quickstart"))} == {None}


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_network_gives_logits_of_the_size_of_its_input(name: str) -> None:
    space = shipped(name)
    height, width = space.configuration({}).data.height_width
    for model in networks(space):
        with torch.device("meta"):
            network = build_network(model, pretrained=False).eval()
            logits = network(torch.zeros(2, 3, height, width))
        assert logits.shape == (2, 1, height, width), model


GRID = {"label": ["experiment_num"], "ignore": ["tested_yet"]}
KINDS_OF_DATA: dict[str, dict[str, Any]] = {
    "binary": {},
    "multiclass": {"task": "multiclass", "classes": ["ground", "disc", "bar"]},
    "multilabel": {"task": "multilabel", "classes": ["disc", "any"]},
    "grey of 16 bits": {"channels": 1, "range": [0, 65535]},
    "four channels": {"channels": 4},
}


def images_of(root: Path, about: dict[str, Any], n: int = 12) -> Path:
    """Pairs of 32 x 40 pixels: images of noise, masks with a bar and a disc that moves."""
    rng = np.random.default_rng(0)
    kind = np.uint16 if "range" in about else np.uint8
    for k in range(n):
        mask = np.zeros((32, 40), np.uint8)
        cv2.circle(mask, (8 + 2 * k, 10), 6, 1, -1)
        mask[24:] = 2
        shape = (32, 40, about.get("channels", 3))
        save(root / "images" / f"{k}.tif", rng.integers(0, np.iinfo(kind).max, shape, kind))
        if about.get("task") == "multiclass":
            save(root / "masks" / f"{k}.png", mask)
        elif about.get("task") == "multilabel":
            save(root / "masks" / "disc" / f"{k}.png", 255 * np.uint8(mask == 1))
            save(root / "masks" / "any" / f"{k}.png", 255 * np.uint8(mask > 0))
        else:
            save(root / "masks" / f"{k}.png", 255 * np.uint8(mask == 1))
    return root


def save(path: Path, picture: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".tif":
        tifffile.imwrite(path, picture.squeeze(), planarconfig="contig")
    else:
        assert cv2.imwrite(str(path), picture)


@pytest.mark.parametrize("about", KINDS_OF_DATA.values(), ids=KINDS_OF_DATA)
def test_every_shipped_space_serves_every_kind_of_data(
    about: dict[str, Any], workspace: Path
) -> None:
    data = images_of(workspace / "pictures", about)
    for name in (*(f"{name}.yaml" for name in NAMES), "unetpp_grid.csv"):
        paths = Workspace(workspace).study(f"of-{Path(name).stem}")
        paths.root.mkdir(parents=True)
        paths.study_yaml.write_text(strict_yaml.dump_yaml({"data": about}), encoding="utf-8")
        options: dict[str, Any] = GRID if name.endswith(".csv") else {}
        found = harness.check(
            paths.name, space=name, data=data, fixed={"model.encoder_weights": None}, **options
        )
        assert found.good and found.problems == (), name
        assert found.table.impossible == [], name


@pytest.mark.parametrize(
    ("task", "fixed", "expected"),
    [
        ("binary", {}, {"dice": 0.5, "bce": 0.5}),
        ("multiclass", {}, {"dice": 0.5, "ce": 0.5}),
        ("binary", {"loss.ce": 3}, {"dice": 0.25, "ce": 0.75}),
        ("multiclass", {"loss.ce": 3}, {"dice": 0.25, "ce": 0.75}),
        ("binary", {"loss.ce": 0}, {"dice": 0.5, "bce": 0.5}),
        ("multiclass", {"loss.ce": 0}, {"dice": 1.0}),
        ("binary", {"loss.bce": 3}, {"dice": 0.25, "bce": 0.75}),
        ("binary", {"loss.bce": 2, "loss.ce": 1}, {"dice": 0.25, "bce": 0.5, "ce": 0.25}),
        ("multiclass", {"loss.bce": 0}, {"dice": 1.0}),
    ],
)
def test_a_space_that_names_one_cross_entropy_has_no_other_beside_it(
    task: str, fixed: dict[str, Any], expected: dict[str, float], tmp_path: Path
) -> None:
    classes = ["ground", "disc", "bar"] if task == "multiclass" else ["ground", "disc"]
    definition = resolve_definition(
        StudyPaths(tmp_path / "studies" / "s"),
        space={"fixed": fixed},
        overrides={"data.task": task, "data.classes": classes},
        fixed={},
        legal=legal_names(),
    )
    assert definition.trial_config({}).loss.weights == pytest.approx(expected)
