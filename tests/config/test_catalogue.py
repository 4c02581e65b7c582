"""The catalogue agrees with the code that it names, in both directions."""

import inspect
import subprocess
import sys
from typing import get_args

import pytest

from harness.config import components
from harness.config.catalogue import (
    BUILTIN_LOSS_ENTRIES,
    NETWORKS,
    OPTIMIZERS,
    PIXEL_SETTINGS,
    SCHEDULES,
    CatalogueEntry,
)
from harness.config.loss import LossConfig, find_loss_setting, loss_names, pixel_losses
from harness.config.measurements import BUILTIN_METRICS, COSTS, LEADERBOARD_METRICS
from harness.config.objective import METRICS
from harness.config.study import OptimConfig
from harness.models import registry
from harness.training.loss import builtin_losses
from harness.training.metrics.image_scores import SCORE_COLUMNS
from harness.training.optim.schedule import LearningRateSchedule

FUNCTIONS = {
    name: part for name, part in components.get_components("loss").items() if part.is_builtin
}


def test_every_loss_has_one_function_and_one_entry() -> None:
    assert list(FUNCTIONS) == list(BUILTIN_LOSS_ENTRIES)
    assert {part.build.__module__ for part in FUNCTIONS.values()} == {builtin_losses.__name__}


@pytest.mark.parametrize("name", BUILTIN_LOSS_ENTRIES)
def test_an_entry_has_the_options_and_settings_of_its_function(name: str) -> None:
    entry, part = BUILTIN_LOSS_ENTRIES[name], FUNCTIONS[name]
    assert part.tasks == entry.tasks
    assert set(entry.pixel_settings) == set(filter(part.accepts, PIXEL_SETTINGS))
    assert {option.name: option.default for option in entry.options} == {
        key: option.default for key, option in part.options.items()
    }
    for option in entry.options:
        assert part.options[option.name].annotation is option.annotation


def test_settings_of_losses_are_those_of_the_entries() -> None:
    keys = [key for entry in BUILTIN_LOSS_ENTRIES.values() for key in entry.setting_keys]
    assert {*keys, *PIXEL_SETTINGS} == set(LossConfig.model_fields)
    assert tuple(BUILTIN_LOSS_ENTRIES) == loss_names() == LossConfig.names()[: len(loss_names())]
    assert pixel_losses("class_weights") == ("bce", "ce", "focal")


def test_a_setting_is_that_of_its_loss() -> None:
    gamma = find_loss_setting("focal_gamma")
    assert gamma is not None and gamma[0].name == "focal" and gamma[1] is not None
    assert gamma[1].name == "gamma"
    weight = find_loss_setting("focal")
    assert weight is not None and weight[1] is None
    assert find_loss_setting("label_smoothing") is None


def test_legal_keys_do_not_depend_on_what_is_imported() -> None:
    """A process without torch refuses and offers the same names as this one."""
    code = (
        "import sys; from harness.config import components, loss, objective; "
        "print(loss.loss_names(), loss.pixel_losses('class_weights'), objective.metric_names(), "
        "{k: sorted(v) for k, v in components.RESERVED_NAMES.items()}, 'torch' in sys.modules)"
    )
    bare = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    reserved = {kind: sorted(names) for kind, names in components.RESERVED_NAMES.items()}
    here = (loss_names(), pixel_losses("class_weights"), METRICS, reserved, False)
    assert bare == " ".join(map(str, here)) + "\n"


def test_every_network_can_be_built_and_every_built_in_one_has_an_entry() -> None:
    ours = {name for name, part in components.get_components("network").items() if part.is_builtin}
    assert {*registry.ARCHS, *ours} == set(NETWORKS)
    assert {name for name, entry in NETWORKS.items() if not entry.is_library} == ours
    for name, entry in NETWORKS.items():
        assert registry.takes_encoder(name) == entry.has_named_encoder


@pytest.mark.parametrize(("field", "entries"), [("name", OPTIMIZERS), ("schedule", SCHEDULES)])
def test_optimisers_and_schedules_are_the_legal_values(
    field: str, entries: dict[str, CatalogueEntry]
) -> None:
    assert get_args(OptimConfig.model_fields[field].annotation) == tuple(entries)


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_is_computed(name: str) -> None:
    assert 0 < LearningRateSchedule(name, n_steps=10, n_warmup=0).factor(5) <= 1


def test_names_of_columns_of_scores_are_reserved() -> None:
    assert components.RESERVED_NAMES["metric"] == {
        *BUILTIN_METRICS,
        *SCORE_COLUMNS,
        "epoch",
    }


def test_the_order_of_the_columns_of_the_leaderboard() -> None:
    assert LEADERBOARD_METRICS == ("dice", "iou", "miou", "precision", "recall")
    assert [key.removeprefix("cost/") for key in COSTS] == [
        "parameters", "gflops", "seconds", "peak_mb", "ms_per_image", "energy_wh",
    ]  # fmt: skip


def test_a_user_component_has_an_entry_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(components, "_COMPONENTS", dict(components._COMPONENTS))

    @components.loss(tasks=("binary",), origin="parts.py")
    def soft(logits: object, target: object, *, class_weights: object, width: int = 3) -> float:
        return 0.0

    @components.metric(direction="minimize", origin="parts.py")
    def depth(probability: object, truth: object, valid: object) -> float:
        return 0.0

    entry = components.losses()["soft"]
    assert (entry.setting_keys, entry.tasks) == (("soft", "soft_width"), ("binary",))
    assert pixel_losses("class_weights") == ("bce", "ce", "focal", "soft")
    assert components.metrics()["depth"].direction == "minimize"
    assert list(inspect.signature(soft).parameters)[2:] == ["class_weights", "width"]
