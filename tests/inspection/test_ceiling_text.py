"""Advice about training sizes."""

import pytest

from harness.data.scan.size_ceiling import CeilingTable, SizeCeiling
from harness.inspection.ceiling_text import loss_sentence


def advice(longest_side: int, size: tuple[int, int], *, has_tiles: bool = False) -> str | None:
    height, width = size
    ceiling = SizeCeiling(height=height, width=width, fit="stretch", dice=0.9, object_f1=None)
    table = CeilingTable(
        n_images=1,
        n_available=1,
        n_windows=0,
        longest_side=longest_side,
        seed=0,
        ceilings=(ceiling,),
        has_tiles=has_tiles,
    )
    sentence = loss_sentence(table)
    return None if sentence is None else sentence.rpartition("; ")[2]


@pytest.mark.parametrize(
    ("longest_side", "size", "expected"),
    [
        (96, (32, 32), "train at native size: data.image_size: 96"),
        (500, (32, 32), "train at native size: data.image_size: 512"),
        (1000, (512, 512), "train at native size: data.image_size: 1024"),
        (1000, (384, 512), "train at native size: data.image_size: 1024"),
        (1200, (512, 512), "train on windows at native size instead: data.tile.size: 512"),
        (4000, (256, 256), "train on windows at native size instead: data.tile.size: 256"),
        (5000, (4096, 4096), "train on windows at native size instead: data.tile.size: 1024"),
    ],
)
def test_images_of_up_to_twice_the_training_size_are_used_as_a_whole(
    longest_side: int, size: tuple[int, int], expected: str
) -> None:
    assert advice(longest_side, size) == expected


def test_space_with_tiles_gets_no_advice() -> None:
    assert advice(4000, (256, 256), has_tiles=True) is None
