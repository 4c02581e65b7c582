"""Every setting of a trial changes its training, or stands on the short list of those that do not.

Each field is trained with its usual value and with the second one that its metadata names; the
trained weights or the log must differ. A field that nothing reads fails here.
"""

from collections.abc import Callable, Iterator
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import Field
from pydantic.fields import FieldInfo
from safetensors.torch import save_file
from segmentation_models_pytorch.encoders import get_encoder

from harness.config.study import ObjectiveConfig, TrainConfig, TrialConfig, trial_keys
from harness.core.paths import TrialPaths
from harness.core.settings import field_effect
from harness.models import build
from harness.search.run.trials import trial_seed
from harness.training.hardware import device
from harness.training.loop.fit import fit_trial
from harness.training.loop.setup import TrainingInputs
from tests.training.conftest import Pictures
from tests.training.loop.test_resume import leftovers, numbers
from tests.training.test_tasks import MULTICLASS, N, cache_for

# Small enough for seconds; where it equals the second value, the first is the field's default.
TINY: dict[str, Any] = {
    "data.image_size": 32,
    "model.encoder_name": "mobilenet_v2",
    "model.encoder_weights": None,
    "model.encoder_depth": 3,
    "train.epochs": 1,
}
SPEED_ONLY = {"train.compile", "train.checkpoint_s"}  # test_trainer.py, test_resume.py

Train = Callable[[TrialConfig, str], object]


def fields_of(schema: type[TrialConfig]) -> dict[str, FieldInfo]:
    """Every field of a trial configuration by its full key."""
    return dict(_leaf_fields(schema, ""))


def _leaf_fields(model: Any, prefix: str) -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        if hasattr(field.annotation, "model_fields"):
            yield from _leaf_fields(field.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field


def check_acts(schema: type[TrialConfig], key: str, train: Train) -> None:
    """Train with both values of a field; an AssertionError names a field without effect."""
    field = fields_of(schema)[key]
    extra: Any = field.json_schema_extra or {}
    assert extra.get("acts") and "try" in extra, f"{key}: has no acts and try in its metadata"
    second, base = extra["try"], TINY | extra.get("with", {})
    default = field.get_default(call_default_factory=True)
    first = default if base.get(key, default) == second else base.get(key, default)
    assert first != second, f"{key}: its second value is its default"
    task = extra.get("task", "binary")
    without, with_it = (
        train(schema.from_flat(base | {key: value}), task) for value in (first, second)
    )
    assert without != with_it, f"{key}: nothing reads it: {first!r} and {second!r} train the same"


@pytest.fixture(scope="module")
def known() -> dict[str, object]:
    """Outcomes by their configurations, so that each is trained once."""
    return {}


@pytest.fixture
def train(
    pictures: Pictures, tmp_path: Path, known: dict[str, object], stub_weights: None
) -> Train:
    """Train a configuration as a worker does; the log and the weights it leaves."""

    def outcome(config: TrialConfig, task: str) -> object:
        identity = f"{task} {config.flat()}"
        if identity not in known:
            known[identity] = trained(config, task, pictures, tmp_path / str(len(known)))
        return known[identity]

    return outcome


def trained(config: TrialConfig, task: str, pictures: Pictures, folder: Path) -> object:
    several = task == "multiclass"
    size, how = config.data.height_width, config.data.whole_fit
    tiled = config.data.tile.size is not None
    at = "native" if tiled else None
    cpu, wanted = torch.device("cpu"), config.train.precision
    fit_trial(
        TrainingInputs(
            config,
            cache_for(MULTICLASS) if several else pictures.cache(size=size, fit=how, metrics_at=at),
            {row: str(row) for row in range(N)} if several else pictures.names,
            TrialPaths(folder),
            seed=trial_seed(config, 0, 0),
            device=cpu,
            # fp32 on every machine, beside which the setting can be seen to act
            precision="fp32" if wanted == "auto" else device.pick_precision(wanted, cpu),
            windows=pictures.windows() if tiled else None,
        ),
        objective=ObjectiveConfig(),
        on_epoch=lambda _: "continue",
    )
    return numbers(folder), leftovers(folder)["best/model/model.safetensors"]


@pytest.fixture
def stub_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights where the network library's cache would have some; bf16, be it emulated."""
    torch.manual_seed(99)
    path = tmp_path / "weights.safetensors"
    save_file(get_encoder("mobilenet_v2", depth=3, weights=None).state_dict(), path)
    monkeypatch.setattr(build, "cached_weights", lambda *_: path)
    monkeypatch.setattr(device, "_has_bf16", lambda _: True)


@pytest.mark.parametrize("key", sorted(set(fields_of(TrialConfig)) - SPEED_ONLY))
def test_setting_acts(key: str, train: Train) -> None:
    check_acts(TrialConfig, key, train)


def test_settings_that_change_speed_only_are_the_short_list() -> None:
    marked = {
        key
        for key, field in fields_of(TrialConfig).items()
        if isinstance(field.json_schema_extra, dict) and field.json_schema_extra.get("speed")
    }
    assert marked == SPEED_ONLY


def test_frequent_checkpoints_change_no_number(train: Train) -> None:
    plain, often = (
        train(TrialConfig.from_flat(TINY | {"train.checkpoint_s": seconds}), "binary")
        for seconds in (30.0, 0.0)
    )
    assert plain == often


def test_schema_has_no_other_fields_than_the_keys_of_a_space() -> None:
    assert set(fields_of(TrialConfig)) == {*trial_keys(), "model.options"}


@pytest.mark.parametrize("key", sorted(fields_of(TrialConfig)))
def test_second_value_and_what_it_needs_are_legal(key: str) -> None:
    extra: Any = fields_of(TrialConfig)[key].json_schema_extra
    config = TrialConfig.from_flat(extra.get("with", {}) | {key: extra["try"]})
    read = attrgetter(key)
    assert read(config) != read(TrialConfig())


class WithBogus(TrainConfig):
    bogus: int = Field(0, json_schema_extra=field_effect("never", 1))
    unexplained: int = 0


class BogusSchema(TrialConfig):
    train: WithBogus = WithBogus()


def test_field_that_nothing_reads_fails_the_check(train: Train) -> None:
    with pytest.raises(AssertionError, match=r"train\.bogus: nothing reads it: 0 and 1 train the"):
        check_acts(BogusSchema, "train.bogus", train)


def test_field_without_metadata_fails_the_check(train: Train) -> None:
    with pytest.raises(AssertionError, match=r"train\.unexplained: has no acts and try"):
        check_acts(BogusSchema, "train.unexplained", train)
