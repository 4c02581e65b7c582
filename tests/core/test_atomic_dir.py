import os
import time
from pathlib import Path

import pytest

from harness.core.atomic_dir import atomic_directory


def test_folder_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    place = tmp_path / "deep" / "place"
    with atomic_directory(place) as temporary:
        (temporary / "a").write_text("whole")
        assert not place.exists()
    assert (place / "a").read_text() == "whole"
    assert list(place.parent.iterdir()) == [place]


def test_nothing_is_left_when_building_fails(tmp_path: Path) -> None:
    def interrupted() -> None:
        with atomic_directory(tmp_path / "place") as temporary:
            (temporary / "a").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_the_first_of_two_builders_wins_and_the_second_succeeds(tmp_path: Path) -> None:
    place = tmp_path / "place"
    with atomic_directory(place) as slow:
        (slow / "a").write_text("slow")
        with atomic_directory(place) as fast:
            (fast / "a").write_text("fast")
    assert (place / "a").read_text() == "fast"
    assert list(tmp_path.iterdir()) == [place]


def test_what_a_killed_builder_left_is_removed_after_a_day(tmp_path: Path) -> None:
    old, young = tmp_path / ".a.1-2.tmp", tmp_path / ".b.1-2.tmp"
    for left in (old, young):
        left.mkdir()
    yesterday = time.time() - 25 * 3600
    os.utime(old, (yesterday, yesterday))
    with atomic_directory(tmp_path / "place"):
        pass
    assert sorted(tmp_path.iterdir()) == [young, tmp_path / "place"]


def test_a_file_in_the_way_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "place").write_text("file")
    with pytest.raises(OSError, match="Not a directory"), atomic_directory(tmp_path / "place"):
        pass
