"""The spaces in search_spaces/: they explain themselves, can be read, and every network builds."""

from dataclasses import replace
from importlib import resources
from pathlib import Path

import pytest
import torch

from harness.config import ModelConfig
from harness.models.build import build_network
from harness.models.registry import ARCHS, check_model
from harness.search.checks import legal_names
from harness.space.reading import read_space
from harness.space.schema import Space

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


def shipped(name: str) -> Space:
    return read_space(FOLDER / f"{name}.yaml", legal=legal_names())


def networks(space: Space) -> list[ModelConfig]:
    """Every network that the space can draw."""
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
