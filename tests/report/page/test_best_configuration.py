import ast
import shlex
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from harness.core import strict_yaml
from harness.report.page.best_configuration import configuration_forms
from harness.report.tables.study_tables import StudyTables, load_study_tables
from tests.report.studies import FIXED, Builder

SETTINGS = {
    **FIXED,
    "model.arch": "Unet",
    "model.encoder_name": "resnet18",
    "model.encoder_depth": 5,
    "optim.lr": 2e-3,
    "model.options.decoder_attention_type": "scse",
}


def forms(tables: StudyTables, choice: int | None = None) -> dict[str, str]:
    return {form.title: form.text for form in configuration_forms(tables, choice)}


def command_settings(text: str) -> dict[str, Any]:
    words = shlex.split(text)
    pairs = [word.split("=", 1) for before, word in pairwise(words) if before == "--set"]
    return {key: strict_yaml.load_yaml(value, source="test").value for key, value in pairs}


def test_the_three_forms_say_the_same(tables: StudyTables) -> None:
    found = forms(tables)
    assert list(found) == ["YAML", "Command", "Python"]
    fixed = strict_yaml.load_yaml(found["YAML"], source="test").value["fixed"]
    assert {key: fixed[key] for key in SETTINGS} == SETTINGS
    assert shlex.split(found["Command"])[:8] == [
        *("harness", "run", "--study", "tiny-best", "--data", "tiny", "--trials", "1"),
    ]
    assert command_settings(found["Command"]) == SETTINGS
    (call,) = [
        node
        for node in ast.walk(ast.parse(found["Python"]))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "harness.run_study"
    ]
    arguments = {word.arg: ast.literal_eval(word.value) for word in call.keywords}
    assert arguments == {"data": "tiny", "trials": 1, "fixed": SETTINGS}


def test_the_confirmed_choice_is_copied_instead_of_the_leading_trial(tables: StudyTables) -> None:
    assert command_settings(forms(tables, 4)["Command"])["optim.lr"] == 5e-3


@pytest.mark.parametrize("text", ["a'; rm -rf ~ #", "$(touch x)", 'x"\\\n'])
def test_hostile_values_stay_values(tmp_path: Path, text: str) -> None:
    study = Builder(tmp_path, config={"data": {"root": text}})
    shape = {"name": "CategoricalDistribution", "attributes": {"choices": [text]}}
    key = "model.options.note"
    study.trial(0, [0.5], {key: text}, distributions={key: shape})
    found = forms(load_study_tables(study.paths))
    words = shlex.split(found["Command"].replace(" \\\n    --set", " --set"))
    assert words[5] == text and f"{key}={text}" in words
    tree = ast.walk(ast.parse(found["Python"]))
    literals = [node.value for node in tree if isinstance(node, ast.Constant)]
    assert literals.count(text) == 2


def test_without_a_complete_trial_there_is_nothing_to_copy(study: Builder) -> None:
    study.trial(0, [0.5], state="pruned")
    assert configuration_forms(load_study_tables(study.paths), None) == []
