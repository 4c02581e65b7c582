"""Warning about too few validation images before the first trial."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness import api
from harness.config.data import MIN_RANKING_IMAGES
from harness.config.progress import LineProgress
from harness.config.study import StudyConfig
from harness.core import strict_yaml
from harness.core.paths import Workspace
from harness.data.scan.scan_cache import PairStats
from harness.data.splits.splits import SplitRow
from harness.search.definition.data_setup import (
    fill_caches,
    load_or_make_split,
    too_few_images_warning,
)
from tests.data.make import folder, save, square
from tests.search.fakes import definition_of


def divided(full: int, empty: int, **data: Any) -> str | None:
    """The note of a split whose validation images show a foreground, or nothing."""
    n = full + empty + 3
    rows = [
        SplitRow(
            i, f"{i}.png", f"{i}.png", "train" if i >= full + empty else "val", f"{i}", f"{i}", "m"
        )
        for i in range(n)
    ]
    looks = [
        PairStats(f"{i}", "m", "", np.zeros(1), (8, 8), (0.5, 0.5) if i < full else (1.0, 0.0))
        for i in range(n)
    ]
    return too_few_images_warning(rows, looks, StudyConfig.from_mapping(data))


def test_images_with_nothing_to_find_do_not_count() -> None:
    assert divided(MIN_RANKING_IMAGES, 5) is None
    assert str(divided(19, 5)).startswith("19 of 24 validation images contain foreground; ")
    assert str(divided(1, 0)).startswith(
        "1 validation image contains foreground; with fewer than 20 "
    )
    assert str(divided(0, 2)).startswith("0 of 2 validation images contain foreground; ")
    three = {"task": "multilabel", "classes": ["a", "b"]}
    assert divided(15, 5, data=three) is None, "class a is in every image"


def test_the_remedy_is_named_where_it_is_not_taken_already() -> None:
    assert "start a study with `split: {folds: 5}` in its studies/NAME" in str(divided(3, 0))
    assert "split:" not in str(divided(3, 0, split={"folds": 5}))


def test_run_and_check_say_it_before_trial_0_and_the_remedy_is_taken(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = folder(workspace / "thirty", 30)
    save(root / "masks" / "000.png", 255 * square()[::-1].copy())
    space = {"fixed": {"model.encoder_weights": None, "data.image_size": 32}}
    found = api.check("s", space=space, data=root)
    (note,) = [note for note in found.notes if "validation image" in note]
    assert found.good and note.startswith("3 validation images contain foreground")
    advised = re.search(r"`(split: .*?)`", note)
    assert advised is not None
    paths = Workspace(workspace).study("s")
    definition = definition_of(space, **strict_yaml.load_yaml(advised[1], source="note").value)
    rows = load_or_make_split(
        Workspace(workspace), paths, definition, root, LineProgress(), skip_bad=False
    )
    assert {row.fold for row in rows if row.role != "test"} == {0, 1, 2, 3, 4}
    said = capsys.readouterr().err
    assert re.search(r"warning: \d validation images contain foreground; with fewer than 20", said)


@pytest.mark.parametrize("side", [16, 512])
def test_bytes_of_the_store_are_said_with_those_of_whole_images_where_they_are_fewer(
    workspace: Path, side: int
) -> None:
    """Images of 24 x 32 pixels need less than those of 512 x 512."""
    root = folder(workspace / "twelve", 12)
    fixed = {"model.encoder_weights": None, "data.tile.size": 32, "data.image_size": side}
    definition = definition_of({"fixed": fixed})
    progress = BarTexts()
    rows = load_or_make_split(
        Workspace(workspace), Workspace(workspace).study("s"), definition, root, progress,
        skip_bad=False,
    )  # fmt: skip
    fill_caches(definition, Workspace(workspace), root, rows, progress)
    (text,) = [text for text in progress.texts if text.startswith("storing")]
    n_val = sum(row.role == "val" for row in rows)
    (whole,) = [text for text in progress.texts if text.startswith("decoding")]
    assert n_val == 1
    assert whole.startswith("decoding 1 validation image to 32 x 32 pixels (")
    assert re.match(r"storing \d+ images at their own sizes \(about \d+ MB", text)
    offered = f"; whole images of {side} x {side} pixels, without data.tile, need about"
    assert (offered in text) == (side == 16)


class BarTexts(LineProgress):
    """Keeps the texts of all bars."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def bar(self, text: str) -> Any:
        self.texts.append(text)
        return super().bar(text)
