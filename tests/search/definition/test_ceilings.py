"""Ceilings of the training sizes of a space, before trial 0."""

from pathlib import Path

import numpy as np
import pytest

from harness import api
from harness.core.paths import Workspace
from harness.data.files.source import FolderSource
from harness.data.scan.size_ceiling import read_ceilings
from harness.data.splits.splits import SplitRow
from harness.search.definition.ceilings import record_ceilings, training_sizes
from tests.data.make import picture, save
from tests.search.fakes import Silence, definition_of


class Lines(Silence):
    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def stage(self, text: str) -> None:
        self.said.append(text)


def grid(root: Path, n: int = 8) -> Path:
    """Images of 240 px with specks of 4 px, which vanish at 32 px."""
    mask = np.zeros((240, 240), np.uint8)
    for y in range(6, 240, 12):
        for x in range(6, 240, 12):
            mask[y : y + 4, x : x + 4] = 255
    for index in range(n):
        save(root / f"images/{index}.png", picture(index, 240, 240))
        save(root / f"masks/{index}.png", mask)
    return root


def rows_of(n: int) -> list[SplitRow]:
    roles = ("train", "val", "test")
    return [
        SplitRow(i, f"images/{i}.png", f"masks/{i}.png", roles[i % 3], f"{i}", "0" * 64, "0" * 64)
        for i in range(n)
    ]


def test_every_size_and_fit_of_the_space() -> None:
    choices = {"choices": [32, [32, 48]]}
    fits = {"choices": ["stretch", "pad"]}
    space = {"parameters": {"data.image_size": choices, "data.fit": fits}}
    expected = [((h, w), fit) for h, w in ((32, 32), (32, 48)) for fit in ("stretch", "pad")]
    assert training_sizes(definition_of(space)) == expected
    stepped = {"parameters": {"data.image_size": {"low": 32, "high": 128, "step": 32}}}
    assert [size for (size, _), _ in training_sizes(definition_of(stepped))] == [32, 64, 96, 128]
    long = {"parameters": {"data.image_size": {"low": 32, "high": 1024, "step": 32}}}
    sizes = [size for (size, _), _ in training_sizes(definition_of(long))]
    assert (len(sizes), sizes[0], sizes[-1]) == (8, 32, 1024)
    assert all(size % 32 == 0 for size in sizes)


def test_masks_of_the_test_split_are_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: set[str] = set()
    original = FolderSource.open

    def noted(self: FolderSource, name: str) -> object:
        opened.add(Path(name).name)
        return original(self, name)

    monkeypatch.setattr(FolderSource, "open", noted)
    paths = Workspace(tmp_path).study("s")
    definition = definition_of({"fixed": {"data.image_size": 32}})
    lines = Lines()
    record_ceilings(paths, definition, rows_of(8), grid(tmp_path / "d"), lines)
    assert opened == {f"{i}.png" for i in range(8) if i % 3 != 2}
    (line,) = lines.said
    assert line.startswith("warning: at 32 x 32 px a perfect network reaches Dice 0.")
    assert line.endswith("train at native size: data.image_size: 256")
    table = read_ceilings(paths.ceilings_json)
    assert table is not None and (table.n_images, table.n_available) == (6, 6)
    opened.clear()
    record_ceilings(paths, definition, rows_of(8), tmp_path / "gone", lines)
    assert not opened and len(lines.said) == 2, "measured once, said at each start"


def test_check_has_the_ceilings_of_its_space(workspace: Path) -> None:
    space = {
        "fixed": {"model.encoder_weights": None},
        "parameters": {"data.image_size": {"choices": [32, 480]}},
    }
    report = api.check("s", space=space, data=grid(workspace / "d"))
    assert report.data is not None and report.data.ceilings is not None
    small, large = report.data.ceilings.ceilings
    assert (small.width, large.width) == (32, 480)
    assert small.dice < 0.7 < 0.99 < large.dice
    assert not [f for f in report.data.findings if f.topic == "training size"]
    assert report.as_json()["data"]["ceilings"]["seed"] == 0


def test_trials_that_use_tiles_have_no_training_size(tmp_path: Path) -> None:
    """In a space of both, whole images are measured, and the advice to use tiles is not given."""
    tiles = {"data.tile.size": {"choices": [64]}}
    assert training_sizes(definition_of({"parameters": tiles})) == []
    both = {"data.tile.size": {"choices": [None, 64]}, "data.image_size": {"choices": [32]}}
    definition, lines = definition_of({"parameters": both}), Lines()
    assert training_sizes(definition) == [((32, 32), "stretch")]
    paths = Workspace.at(tmp_path).study("s")
    paths.root.mkdir(parents=True)
    record_ceilings(paths, definition, rows_of(8), grid(tmp_path / "data"), lines)
    table = read_ceilings(paths.ceilings_json)
    assert table is not None
    assert table.best is not None
    assert table.best.dice < 0.99
    assert table.has_tiles
    assert lines.said == []


def test_check_of_a_space_of_both_has_the_table_without_advice(workspace: Path) -> None:
    """The example of docs/large-images.md, at sizes of a test."""
    space = {
        "fixed": {"model.encoder_weights": None},
        "parameters": {
            "data.tile.size": {"choices": [None, 64, 128]},
            "data.image_size": {"choices": [32, 64], "when": {"data.tile.size": None}},
            "data.tile.scale": {"choices": [0.5, 1.0], "when": {"data.tile.size": [64, 128]}},
        },
    }
    report = api.check("s", space=space, data=grid(workspace / "d"))
    assert report.data is not None and report.data.ceilings is not None
    assert [ceiling.width for ceiling in report.data.ceilings.ceilings] == [32, 64]
    assert not [f for f in report.data.findings if f.topic == "training size"]
