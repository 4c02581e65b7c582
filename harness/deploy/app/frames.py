"""Answers to the page: JSON and raw arrays in one body, and probabilities as whole numbers."""

import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

# Probability 1 as a 16-bit number. A multiple of 100, so that each step of the page's slider (0.01)
# is a whole number and decides exactly as the float does.
SCALE: Final = 65_000


def pack_frame(meta: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Join JSON and arrays: length of the JSON (uint32), JSON, arrays; all little-endian.

    Each array starts at a multiple of 8 bytes and is described in `meta["arrays"]` by `offset`,
    `length` (both of bytes), `shape` and `type`.
    """
    # The offsets depend on the length of the JSON that holds them: they count from its end.
    described, parts, offset = {}, [], 0
    for name, array in arrays.items():
        data = np.ascontiguousarray(array).tobytes()
        padding = -len(data) % 8
        described[name] = {
            "offset": offset,
            "length": len(data),
            "shape": list(array.shape),
            "type": array.dtype.name,
        }
        parts += [data, bytes(padding)]
        offset += len(data) + padding
    text = json.dumps({**meta, "arrays": described}).encode()
    text += b" " * (-(len(text) + 4) % 8)
    return b"".join([struct.pack("<I", len(text)), text, *parts])


def quantize(p: NDArray[np.float32], thresholds: Sequence[float | None]) -> NDArray[np.uint16]:
    """Probabilities (K, H, W) as whole numbers q of 0..SCALE with the same decisions.

    For every threshold t that is a multiple of 1/SCALE, and for those of the rule, q ≥ round(t
    SCALE) exactly where p ≥ t in 32 bits.

    Args:
        thresholds: of the rule, one for each plane; None: argmax.
    """
    edges = np.append(np.arange(SCALE + 1) / SCALE, np.inf).astype(np.float32)
    result = np.empty(p.shape, np.uint16)
    for plane, threshold, target in zip(p, thresholds, result, strict=True):
        plane_edges = edges
        if threshold is not None:
            plane_edges = edges.copy()
            plane_edges[round(threshold * SCALE)] = np.float32(threshold)
        # Rounding of the product may be off by one on either side, which the comparisons repair.
        q = np.clip(plane * np.float32(SCALE), 0, SCALE).astype(np.int32)
        q -= plane < plane_edges[q]
        q += plane >= plane_edges[q + 1]
        target[...] = q
    return result
