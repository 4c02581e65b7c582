import itertools
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.config.study import TrialConfig
from harness.core.errors import ConfigError
from harness.preflight import network_table as module
from harness.preflight.build_check import BuildResult
from harness.preflight.combinations import enumerate_configs
from harness.preflight.network_key import NetworkKey, PreflightSetting, network_key_of
from harness.preflight.network_table import (
    NetworkChecker,
    NetworkTable,
    build_network_table,
    check_network_table,
)
from harness.preflight.refusal_reasons import RefusalReason
from harness.space.reading.load_space import read_space, space_from_dict
from harness.space.space import AllowedValues, Categorical, SearchSpace
from tests.search.fakes import FakeExecutor, controller_of, definition_of

Built = list[tuple[NetworkKey, set[int]]]
WITHOUT = {"model.encoder_weights": None, "data.image_size": 64, "train.epochs": 1}


def read(parameters: dict[str, Any], **rest: Any) -> SearchSpace:
    fixed = WITHOUT | rest.pop("fixed", {})
    content = {"parameters": parameters, "fixed": fixed, **rest}
    return space_from_dict(content, source="space", legal=AllowedValues())


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> Built:
    """What is built; nothing is: depth 2 is impossible, and Linknet with one image."""
    asked: Built = []

    def judge(
        network: NetworkKey, setting: PreflightSetting, batches: set[int], _: object
    ) -> BuildResult:
        asked.append((network, set(batches)))
        deep = None if network.encoder_depth > 2 else RefusalReason("depth", "depth: too small")
        one = RefusalReason("batch", "batch of one: no") if network.arch == "Linknet" else deep
        return BuildResult(network, 1, 1.0, {n: one if n == 1 else deep for n in batches})

    monkeypatch.setattr(module, "try_build", judge)
    return asked


VIT = "tu-vit_tiny_patch16_224"
WEIGHTED = {"model.encoder_weights": "imagenet", "data.image_size": 256}
NO_WEIGHTS = "tu-cspresnet50d"  # timm has none for it
DEPTHS = {"model.encoder_depth": {"low": 2, "high": 5}}
ARCHS = {"model.arch": {"choices": ["Unet", "Linknet", "FPN"]}}


def networks(space: SearchSpace, n_train: int | None = None, limit: int | None = None) -> set[Any]:
    found = enumerate_configs(space, PreflightSetting(n_train=n_train), limit=limit)
    return {
        (d.network.arch, d.network.encoder_depth, d.has_single_image_batch) for d in found.configs
    }


def test_forbidden_combinations_are_not_built() -> None:
    space = read(ARCHS | DEPTHS, forbid=[{"model.arch": "FPN", "model.encoder_depth": [2, 5]}])
    expected = set(itertools.product(["Unet", "Linknet"], range(2, 6), [False]))
    assert networks(space) == expected | {("FPN", 3, False), ("FPN", 4, False)}


def test_condition_on_another_setting_leaves_what_it_allows() -> None:
    attention = {"choices": ["scse"], "when": {"optim.name": "sgd"}}
    optimisers = {"optim.name": {"choices": ["adamw", "sgd"]}}
    space = read(optimisers | {"model.options.decoder_attention_type": attention})
    found = enumerate_configs(space, PreflightSetting(), limit=None)
    options = {drawn.network.options for drawn in found.configs}
    assert options == {"{}", '{"decoder_attention_type": "scse"}'}


def test_encoder_that_does_not_act_is_no_difference(built: Built) -> None:
    """attention_unet has no encoder of one's choice, and begins with no weights."""
    archs = {"model.arch": {"choices": ["attention_unet"]}}
    encoders = {"model.encoder_name": {"choices": ["resnet18", NO_WEIGHTS]}}
    space = SearchSpace(
        tuple(Categorical(key, tuple(v["choices"])) for key, v in (archs | encoders).items())
    )
    table = build_network_table(space, PreflightSetting())
    assert len(built) == 1 and table.encoder_names == [] and len(table.possible) == 1


def test_what_does_not_shape_a_network_builds_it_once(built: Built) -> None:
    rates = {"optim.lr": {"low": 1e-4, "high": 1e-2, "log": True}}
    batches = {"train.batch_size": {"low": 1, "high": 64}}
    table = build_network_table(read(ARCHS | rates | batches), PreflightSetting())
    assert [(network.arch, sizes) for network, sizes in built] == [
        (arch, {1, 2}) for arch in ("Unet", "Linknet", "FPN")
    ]
    assert len(table.entries) == 6 and len(table.impossible) == 1


@pytest.mark.parametrize(("n_train", "alone"), [(None, False), (1, True), (2, False), (40, False)])
def test_single_training_image_is_a_batch_of_one(n_train: int | None, alone: bool) -> None:
    assert networks(read({"optim.lr": {"choices": [1e-3]}}), n_train) == {("Unet", 5, alone)}


def test_share_of_the_training_images_can_leave_one() -> None:
    shares = {"data.subset": {"low": 0.01, "high": 1.0}}
    assert networks(read(shares), 80) == {("Unet", 5, True), ("Unet", 5, False)}
    assert networks(read(shares), 400) == {("Unet", 5, False)}


def test_beyond_the_limit_a_seeded_sample_is_drawn_and_said() -> None:
    space = read(ARCHS | DEPTHS)
    sample = enumerate_configs(space, PreflightSetting(), limit=5)
    assert len(sample.configs) == 5 and not sample.is_complete
    assert sample == enumerate_configs(space, PreflightSetting(), limit=5)
    assert sample != enumerate_configs(space, PreflightSetting(), limit=5, seed=1)
    assert enumerate_configs(space, PreflightSetting(), limit=12).is_complete


def test_sample_is_named_in_the_line(built: Built) -> None:
    line = build_network_table(read(ARCHS | DEPTHS), PreflightSetting(), limit=5).summary_line()
    assert "5 networks drawn from more" in line


def test_combination_beyond_the_sample_is_checked_when_it_is_drawn(built: Built) -> None:
    table = build_network_table(read(ARCHS | DEPTHS), PreflightSetting(), limit=1)
    assert len(built) == 1
    for arch, depth in itertools.product(["Unet", "Linknet", "FPN"], range(2, 6)):
        refusal = table.checker.config_refusal({"model.arch": arch, "model.encoder_depth": depth})
        assert (refusal is None) == (depth > 2)
    assert len(built) == len({network for network, _ in built}) == 12


def test_weights_that_do_not_exist_are_a_reason(built: Built) -> None:
    encoders = {"model.encoder_name": {"choices": [NO_WEIGHTS, "tu-resnet10t"]}}
    weights = {"model.encoder_weights": {"choices": [None, "imagenet"]}}
    space = space_from_dict(
        {"parameters": encoders | weights}, source="space", legal=AllowedValues()
    )
    table = build_network_table(space, PreflightSetting())
    assert len(table.entries) == 4
    for entry in table.entries:
        drawn = entry.sampled.config.model
        none = drawn.encoder_name == NO_WEIGHTS and drawn.encoder_weights is not None
        assert (entry.reason is not None) == none
        assert entry.reason is None or entry.reason.kind == "weights"
    assert table.encoder_names == ["tu-resnet10t"]


def test_pairs_of_encoder_and_weights_that_do_not_exist_are_refused(
    built: Built, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoders = {"model.encoder_name": {"choices": ["resnet18", "resnet34", "tu-resnet10t"]}}
    weights = {"model.encoder_weights": {"choices": [None, "imagenet", "ssl"]}}
    space = space_from_dict(
        {"parameters": encoders | weights}, source="space", legal=AllowedValues()
    )
    every = {("resnet18", "imagenet"), ("resnet18", "ssl"), ("resnet34", "imagenet")}
    every |= {("tu-resnet10t", "imagenet")}
    table = build_network_table(space, PreflightSetting())
    assert set(table.pretrained_encoders) == every and len(table.entries) == 9
    refusal = table.checker.config_refusal
    drawn = {"model.encoder_name": "resnet34", "model.encoder_weights": "ssl"}
    assert "resnet34 has no ssl weights (it has only imagenet)" in str(refusal(drawn))
    assert refusal(drawn | {"model.encoder_name": "resnet18"}) is None
    monkeypatch.setattr("harness.preflight.combinations.MAX_COMBINATIONS", 1)
    assert set(build_network_table(space, PreflightSetting(), limit=1).pretrained_encoders) == every


def test_weights_that_do_not_fit_the_image_size_are_a_reason() -> None:
    """Those of Hiera have a position for each of their own places."""
    parameters = {"model.encoder_name": {"choices": ["tu-hiera_tiny_224", VIT]}}
    space = read(parameters, fixed={"model.arch": "DPT", "model.encoder_depth": 4, **WEIGHTED})
    reasons = {
        entry.sampled.network.encoder_name: entry.reason
        for entry in build_network_table(space, PreflightSetting()).entries
    }
    assert reasons[VIT] is None
    assert str(reasons["tu-hiera_tiny_224"]) == (
        "weights: tu-hiera_tiny_224 has no weights that fit images of 256 x 256 px; set "
        "data.image_size to 224 or model.encoder_weights to null"
    )
    for way_out in ({"data.image_size": 224}, {"model.encoder_weights": None}):
        again = replace(space, fixed=space.fixed | way_out)
        assert build_network_table(again, PreflightSetting()).impossible == []


def test_weights_of_what_the_sample_left_out_are_wanted_too(
    built: Built, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["resnet18", "resnet34", "mobilenet_v2", "vgg11", NO_WEIGHTS]
    parameters = ARCHS | DEPTHS | {"model.encoder_name": {"choices": names}}
    rule = {"model.encoder_name": "vgg11"}  # is never drawn
    fixed = {"model.encoder_weights": "imagenet"}
    table = build_network_table(
        read(parameters, fixed=fixed, forbid=[rule]), PreflightSetting(), limit=1
    )
    assert len(table.entries) == 1 and table.encoder_names == [
        "mobilenet_v2",
        "resnet18",
        "resnet34",
    ]
    monkeypatch.setattr(
        "harness.preflight.combinations.MAX_COMBINATIONS", 1
    )  # draws one, counts none
    table = build_network_table(
        read(parameters, fixed=fixed, forbid=[rule]), PreflightSetting(), limit=1
    )
    assert len(table.entries) <= 1 and table.encoder_names == [
        "mobilenet_v2",
        "resnet18",
        "resnet34",
    ]
    table = build_network_table(read(parameters, forbid=[rule]), PreflightSetting(), limit=1)
    assert table.encoder_names == [], "random weights are not fetched"


def test_space_in_which_nothing_is_possible_says_why(built: Built) -> None:
    table = build_network_table(read(ARCHS, fixed={"model.encoder_depth": 2}), PreflightSetting())
    with pytest.raises(ConfigError, match=r"no network of this space .*\n  depth: too small \(3\)"):
        check_network_table(table)


def test_first_rows_that_cannot_be_built_are_refused_by_number(built: Built) -> None:
    rows = [
        {"model.encoder_depth": 3},
        {"model.arch": "Unet", "model.encoder_depth": 2},
        {"model.arch": "Linknet", "train.batch_size": 1},
        {"model.arch": "Linknet", "train.batch_size": 64},
    ]
    batches = {"train.batch_size": {"low": 1, "high": 64}}
    table = build_network_table(read(ARCHS | DEPTHS | batches, enqueue=rows), PreflightSetting())
    with pytest.raises(ConfigError) as error:
        check_network_table(table)
    assert [problem.split(":")[1] for problem in error.value.problems] == [" row 2", " row 3"]
    assert "depth: too small" in error.value.problems[0]
    assert "Linknet" in error.value.problems[1] and "batch of one" in error.value.problems[1]


def test_rows_of_a_csv_that_cannot_be_built_are_refused_with_their_line(
    built: Built, tmp_path: Path
) -> None:
    file = tmp_path / "grid.csv"
    file.write_text("encoder_depth,encoder_weights\n3,None\n2,None\n")
    table = build_network_table(read_space(file, legal=AllowedValues()), PreflightSetting())
    with pytest.raises(ConfigError, match=r"grid\.csv:3: row 2: .*depth: too small$"):
        check_network_table(table)


HALF = ARCHS | DEPTHS | {"optim.lr": {"low": 1e-4, "high": 1e-2, "log": True}}


def impossible(values: Any) -> str | None:
    """Half of what HALF can draw."""
    depth = {"Unet": (4, 5), "Linknet": (2, 3), "FPN": (2, 5)}[values["model.arch"]]
    return "impossible" if values["model.encoder_depth"] in depth else None


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", ["tpe", "random"])
def test_sampler_never_draws_the_impossible_and_is_never_trapped(
    tmp_path: Path, seed: int, name: str
) -> None:
    space = {"parameters": HALF, "fixed": {"train.epochs": 1}}
    definition = definition_of(space, seed=seed, sampler={"name": name})
    executor = FakeExecutor(lambda task: [0.9 - 0.1 * task.config.model.encoder_depth])
    controller = controller_of(tmp_path, definition, executor, refuse=impossible)
    controller.run(60)
    assert len(executor.started) == controller.count_finished() == 60
    assert [task.number for task in executor.started] == list(range(60))
    for task in executor.started:
        assert impossible(task.config.flat()) is None


def test_grid_leaves_the_impossible_out(tmp_path: Path) -> None:
    space = {"parameters": ARCHS | DEPTHS, "fixed": {"train.epochs": 1}}
    definition = definition_of(space, sampler={"name": "grid"})
    executor = FakeExecutor(lambda task: [0.5])
    controller_of(tmp_path, definition, executor, refuse=impossible).run(60)
    drawn = [task.config.model for task in executor.started]
    assert len(drawn) == len({(m.arch, m.encoder_depth) for m in drawn}) == 6
    assert all(impossible(task.config.flat()) is None for task in executor.started)


def test_refusal_agrees_with_the_table_for_random_draws() -> None:
    """Really built: what the table calls impossible is refused, the rest is not."""
    space = read(ARCHS | DEPTHS | {"train.batch_size": {"choices": [1, 2]}})
    table: NetworkTable = build_network_table(space, PreflightSetting())
    known = {
        (e.sampled.network, e.sampled.has_single_image_batch): e.reason is None
        for e in table.entries
    }
    rng = random.Random(0)
    for _ in range(30):
        values = space.sample(rng)
        config = TrialConfig.from_flat(WITHOUT | values)
        possible = known[network_key_of(config), config.train.batch_size == 1]
        assert (table.checker.config_refusal(values) is None) == possible
    assert {depth for arch, depth, _ in networks(space) if arch == "FPN"} == {2, 3, 4, 5}
    assert NetworkChecker(space, PreflightSetting()).config_refusal(
        {"model.arch": "FPN", "model.encoder_depth": 2}
    )
