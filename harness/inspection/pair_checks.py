"""Tests of one image and its mask: empty, full, bordered, the same as another."""

from typing import Final

from harness.data.scan.scan import PairStats

_BORDER: Final = 0.02  # of a side; narrower ones are how a codec ends a picture


def is_empty(stats: PairStats, task: str) -> bool:
    """Whether nothing is to be found: no class, or class 0 alone where one is the background."""
    return not any(stats.shares) if task == "multilabel" else not any(stats.shares[1:])


def is_full(stats: PairStats, task: str) -> bool:
    """Whether one class that is no background covers the picture."""
    shares = stats.shares if task == "multilabel" else stats.shares[1:]
    return any(share >= 1 for share in shares)


def same_mask(first: PairStats, second: PairStats) -> bool:
    """Whether two masks are equal once decoded, or stored in equal files."""
    if first.mask_sha256 == second.mask_sha256:
        return True
    return bool(first.seen.mask_pixels) and first.seen.mask_pixels == second.seen.mask_pixels


def has_border(stats: PairStats) -> bool:
    """Whether a black border is at least 2 % of a side wide."""
    height, width = stats.size
    top, right, bottom, left = stats.seen.border
    return top + bottom >= _BORDER * height or left + right >= _BORDER * width
