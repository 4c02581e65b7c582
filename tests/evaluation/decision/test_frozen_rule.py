"""The file of a frozen rule: read back, refused where damaged or of other weights."""

import json
from pathlib import Path
from typing import Any

import pytest

from harness.config.data import StudyDataConfig
from harness.config.decision_rule import ClassDecision, DecisionRule
from harness.core.errors import ConfigError
from harness.core.paths import StudyPaths
from harness.evaluation.decision.frozen_rule import (
    FrozenRule,
    describe_choice,
    describe_rule,
    read_frozen_rule,
    rule_path,
)
from harness.evaluation.decision.step_effects import StepEffect, cumulative_rules

BINARY = StudyDataConfig()
TAGS = StudyDataConfig(task="multilabel", classes=("disc", "bar"))
HASHES = {"confirm/0": "a" * 64}
EFFECT = StepEffect(
    class_name="foreground",
    step="min_size",
    value=16,
    before=0.8,
    after=0.82,
    low=0.01,
    high=0.03,
    p=0.0002,
    n=60,
    is_kept=True,
)
HOLES = EFFECT.model_copy(update={"step": "fill_holes", "value": True, "is_kept": False})


def frozen(**update: Any) -> FrozenRule:
    rule = DecisionRule(task="binary", classes=(ClassDecision(threshold=0.43, min_size=16),))
    whole = FrozenRule(rule=rule, weights=HASHES, tta=False, n_images=60, steps=(HOLES, EFFECT))
    return whole.model_copy(update=update)


def written(folder: Path, rule: FrozenRule) -> Path:
    path = rule_path(StudyPaths(folder), HASHES, tta=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(rule.model_dump_json(indent=2), encoding="utf-8")
    return path


def test_a_rule_is_read_back(tmp_path: Path) -> None:
    read = read_frozen_rule(written(tmp_path, frozen()), HASHES, BINARY, tta=False)
    assert read == frozen()
    assert read.steps[0].value is True and read.steps[1].value == 16
    renamed = {"7": "a" * 64}
    assert read_frozen_rule(written(tmp_path, frozen()), renamed, BINARY, tta=False) == frozen()


def test_a_rule_without_steps_is_read(tmp_path: Path) -> None:
    path = written(tmp_path, frozen())
    values = json.loads(path.read_text(encoding="utf-8"))
    del values["steps"]
    path.write_text(json.dumps(values), encoding="utf-8")
    assert read_frozen_rule(path, HASHES, BINARY, tta=False).steps == ()


@pytest.mark.parametrize(
    ("update", "message"),
    [
        ({"weights": {"confirm/0": "b" * 64}}, "chosen for other weights; delete the file"),
        ({"weights": {}}, "other weights"),
        ({"tta": True}, "chosen for flips; delete"),
        ({"rule": DecisionRule(task="multiclass", classes=(ClassDecision(),))}, "another task"),
        ({"rule": DecisionRule(task="binary", classes=())}, "0 classes"),
        ({"format": 2}, "format 2; this harness reads format 1"),
    ],
)
def test_a_rule_of_something_else_is_refused(
    tmp_path: Path, update: dict[str, Any], message: str
) -> None:
    path = written(tmp_path, frozen(**update))
    with pytest.raises(ConfigError, match=message):
        read_frozen_rule(path, HASHES, BINARY, tta=False)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b'{"format": 1}',
        b"[" * 100_000,
        frozen().model_dump_json().replace("0.43", "NaN").encode(),
        frozen().model_dump_json().replace("0.43", "1.5").encode(),
        frozen().model_dump_json().replace('"min_size":16', '"min_size":-1').encode(),
    ],
)
def test_a_damaged_file_is_one_clear_error(tmp_path: Path, content: bytes) -> None:
    path = written(tmp_path, frozen())
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"no decision rule that can be read .*delete the file"):
        read_frozen_rule(path, HASHES, BINARY, tta=False)


def test_rules_are_described_in_a_line() -> None:
    assert describe_rule(frozen(), BINARY) == "foreground p ≥ 0.43, min_size 16"
    first, second = describe_choice(frozen(), BINARY)
    assert first == (
        "decision rule of confirm/0, chosen on 60 validation images: "
        "foreground p ≥ 0.43, min_size 16"
    )
    assert second == (
        "clean-up: foreground min_size 16: mean Dice 0.8000 to 0.8200, gain +0.0200 "
        "[+0.0100, +0.0300]"
    )
    entries = (
        ClassDecision(threshold=0.5, fill_holes=True, largest_only=True),
        ClassDecision(threshold=0.5),
    )
    tags = frozen(rule=DecisionRule(task="multilabel", classes=entries))
    assert describe_rule(tags, TAGS) == "disc p ≥ 0.50, fill_holes, largest_only; bar p ≥ 0.50"


@pytest.mark.parametrize(
    ("n", "line"),
    [
        (49, "clean-up: none; fewer than 50 validation images"),
        (50, "clean-up: none; no step raises the mean Dice by more than noise"),
    ],
)
def test_an_absent_clean_up_has_its_reason(n: int, line: str) -> None:
    rule = DecisionRule(task="binary", classes=(ClassDecision(threshold=0.43),))
    assert describe_choice(frozen(rule=rule, steps=(HOLES,), n_images=n), BINARY)[1] == line


def test_a_rule_is_built_up_in_the_order_of_its_steps() -> None:
    entries = (
        ClassDecision(threshold=0.4, largest_only=True, min_size=8),
        ClassDecision(threshold=0.6, min_size=1),
        ClassDecision(threshold=0.7, fill_holes=True),
    )
    rule = DecisionRule(task="multilabel", classes=entries)
    steps = cumulative_rules(rule)
    assert [(index, step) for index, step, _ in steps] == [
        (0, "min_size"),
        (0, "largest_only"),
        (2, "fill_holes"),
    ]
    assert [entry.threshold for entry in steps[0][2].classes] == [0.4, 0.6, 0.7]
    assert steps[0][2].classes[0].min_size == 8 and not steps[0][2].classes[0].largest_only
    assert cumulative_rules(rule.model_copy(update={"classes": entries[1:2]})) == []
