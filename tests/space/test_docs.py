"""Examples of docs/spaces.md, each of which must be a valid space."""

import re
from pathlib import Path

from harness.space.reading.load_space import read_space
from tests.space.spaces import LEGAL, space_of

TEXT = (Path(__file__).parents[2] / "docs" / "spaces.md").read_text(encoding="utf-8")


def example(kind: str) -> str:
    found = re.findall(rf"```{kind}\n(.*?)```", TEXT, re.DOTALL)
    assert len(found) == 1
    return str(found[0])


def test_yaml_example_is_a_space(tmp_path: Path) -> None:
    space = space_of(example("yaml"), tmp_path)
    assert len(space.parameters) == 7
    assert len(space.forbid) == 2 and len(space.enqueue) == 1


def test_csv_example_is_a_space(tmp_path: Path) -> None:
    file = tmp_path / "grid.csv"
    file.write_text(example("csv"), encoding="utf-8")
    space = read_space(file, legal=LEGAL, label=["experiment_num"], ignore=["tested_yet"])
    assert [row["model.encoder_depth"] for row in space.rows] == [3, 3]
