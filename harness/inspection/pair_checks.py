"""Tests of the statistics of one pair: empty, full, bordered, same mask as another."""

from typing import Final

from harness.data.scan.scan import PairStats

_BORDER: Final = 0.02  # of a side; codecs leave narrower borders at the end of a frame


def is_empty(stats: PairStats, task: str) -> bool:
    """True if the mask has no foreground: no class at all, or only the background, class 0."""
    return not any(stats.shares) if task == "multilabel" else not any(stats.shares[1:])


def is_full(stats: PairStats, task: str) -> bool:
    """True if one class other than the background covers the whole image."""
    shares = stats.shares if task == "multilabel" else stats.shares[1:]
    # Exactly 1 in floats, too: n / n of the pixels that count.
    return any(share >= 1 for share in shares)


def same_mask(first: PairStats, second: PairStats) -> bool:
    """True if two masks are equal after decoding, or stored in equal files."""
    if first.mask_sha256 == second.mask_sha256:
        return True
    # Empty: statistics without decoded masks; two of those are not known to be equal.
    return bool(first.seen.mask_pixels) and first.seen.mask_pixels == second.seen.mask_pixels


def has_border(stats: PairStats) -> bool:
    """True if the black border covers at least 2 % of the height or width."""
    # Opposite sides are added, since a centred image has half of its border on each.
    height, width = stats.size
    top, right, bottom, left = stats.seen.border
    return top + bottom >= _BORDER * height or left + right >= _BORDER * width
