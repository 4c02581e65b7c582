"""User-defined losses in the methods paragraph: weights and options, their file not executed."""

import re
from pathlib import Path
from typing import Any

import pytest

from harness.config import components
from harness.core import files, strict_yaml
from harness.core.records import write_record
from harness.report.page.methods import MethodsParagraph, build_methods_paragraph
from harness.report.tables.study_tables import load_study_tables
from tests.report.studies import Builder


def of(study: Builder) -> MethodsParagraph:
    paragraph = build_methods_paragraph(load_study_tables(study.paths), [])
    assert paragraph is not None
    return paragraph


TWO_LOSSES = """
raise SystemExit("a report must not execute this file")

@parts.loss(tasks=("binary",))
def edge(logits, target, *, width: int = 3):
    return 0.0

@parts.loss(name="edge_soft")
def other_name(logits, target, void=False, softness: float = 1.0):
    return 0.0

@parts.metric()
def edge_metric(probability, truth, valid, edge_soft=0.5):
    return 0.0
"""
TWO_LOSSES_SETTINGS = {"loss.edge": 0.5, "loss.edge_width": 3, "loss.edge_soft": 0.25}


def with_user_code(root: Path, code: str, sha256: str | None = None) -> Builder:
    study = Builder(root, config={"parts": {"file": "parts.py", "sha256": sha256}})
    files.write_text(study.paths.root / "parts.py", code)
    return study


def add_searched(study: Builder, number: int, params: dict[str, Any]) -> None:
    """A trial whose user-defined settings are searched, as no registry knows them."""
    record = study.trial(number, [0.5])
    write_record(study.paths.trial(number), record.model_copy(update={"params": params}))


def test_the_file_of_the_study_declares_which_settings_are_losses(tmp_path: Path) -> None:
    """By the name `edge_soft` would be an option of `edge`; the file is read, not executed."""
    study = with_user_code(tmp_path, TWO_LOSSES)
    add_searched(study, 0, {**TWO_LOSSES_SETTINGS, "loss.edge_soft_softness": 2.0})
    text = of(study).text
    assert "dice [" in text and "binary cross-entropy, edge and edge_soft (weights" in text
    assert "dice 1, bce 1, edge 0.5, edge_soft 0.25)." in text
    assert "Options of losses: edge_width 3, edge_soft_softness 2." in text


@pytest.mark.parametrize(
    ("code", "sha256"),
    [(TWO_LOSSES, "0" * 64), ("def edge(:", None), ("(" * 500, None), ("\x00", None)],
)
def test_without_a_readable_file_the_naming_rule_decides(
    tmp_path: Path, code: str, sha256: str | None
) -> None:
    study = with_user_code(tmp_path, code, sha256)
    add_searched(study, 0, TWO_LOSSES_SETTINGS)
    text = of(study).text
    assert "dice 1, bce 1, edge 0.5)." in text
    assert "Options of losses: edge_soft 0.25, edge_width 3." in text


DOCS = Path(__file__).parents[3] / "docs" / "parts.md"


@pytest.mark.parametrize("weights", [(1.0,), (0.25, 0.75)])
def test_the_example_of_the_docs_names_its_loss_and_its_option(
    tmp_path: Path, weights: tuple[float, ...]
) -> None:
    """Fixed (one weight) or searched; the built-in losses have no weight."""
    code = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)[0]
    study = with_user_code(tmp_path, code)
    for number, weight in enumerate(weights):
        config = {
            "train": {"epochs": 4},
            "loss": {"dice": 0.0, "bce": 0.0, "hardest": weight, "hardest_share": 0.25},
        }
        study.trial(number, [0.5], {"train.seed": number})
        files.write_text(study.paths.trial(number).config_yaml, strict_yaml.dump_yaml(config))
        if len(weights) > 1:
            add_searched(study, number, {"loss.hardest": weight, "loss.hardest_share": 0.25})
            files.write_text(study.paths.trial(number).config_yaml, strict_yaml.dump_yaml(config))
    assert "The loss was hardest. Options of losses: hardest_share 0.25. " in of(study).text


def test_the_loss_is_not_described_from_searched_values_alone(study: Builder) -> None:
    """Without config.yaml nothing tells which other terms were added to it."""
    study.trial(0, [0.5], {"loss.dice": 0.5})
    study.paths.trial(0).config_yaml.unlink()
    assert "loss was" not in of(study).text


def test_a_loss_of_the_users_own_is_named_where_it_is_fixed_and_its_option_is_none(
    study: Builder,
) -> None:
    """The file that registers it is not loaded: the report executes nobody's file."""
    config = {"loss": {"dice": 0.0, "bce": 0.0, "hardest": 1.0, "hardest_share": 0.25}}
    study.trial(0, [0.5], {})
    files.write_text(study.paths.trial(0).config_yaml, strict_yaml.dump_yaml(config))
    text = of(study).text
    assert "The loss was hardest. Options of losses: hardest_share 0.25." in text


def test_options_of_a_loss_that_was_searched_are_no_losses(study: Builder) -> None:
    for number in range(2):
        params = {"loss.hardest": 0.5 + number, "loss.hardest_share": 0.1 + number / 10}
        add_searched(study, number, params)
    text = of(study).text
    assert "(weights, normalised to sum to 1: dice 1, bce 1, hardest 0.5 to 1.5)." in text
    assert "Options of losses: hardest_share 0.1 to 0.2." in text


def nothing(logits: Any, target: Any) -> float:
    return 0.0


def test_registered_names_decide_what_is_an_option(study: Builder) -> None:
    """Two losses, of which one's name begins like the other's option would."""
    try:
        for name in ("edge", "edge_soft"):
            components.loss(name, origin="own.py")(nothing)
        study.trial(0, [0.5], {"loss.edge": 0.5, "loss.edge_soft": 0.25})
        text = of(study).text
    finally:
        components.unregister_origin("own.py")
    assert "edge 0.5, edge_soft 0.25)" in text and "Options of losses" not in text
