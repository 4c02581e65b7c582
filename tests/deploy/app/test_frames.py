"""Probabilities as whole numbers decide as the floats do; frames keep every byte."""

import json
import struct

import numpy as np
import pytest

from harness.deploy.app.frames import SCALE, pack_frame, quantize


def test_every_step_of_the_slider_decides_as_the_float() -> None:
    rng = np.random.default_rng(0)
    steps = (np.arange(1, 100) / 100).astype(np.float32)
    near = [steps, np.nextafter(steps, np.float32(0)), np.nextafter(steps, np.float32(1))]
    p = np.concatenate([*near, rng.random(5000, np.float32), np.float32([0, 1, 1e-12])])
    q = quantize(p.reshape(1, 1, -1), [0.5])[0, 0]
    for t in np.arange(1, 100) / 100:
        assert ((q >= round(t * SCALE)) == (p >= np.float32(t))).all(), t


@pytest.mark.parametrize("threshold", [1 / 3, 0.123456789, 0.0, 1.0, 0.9999999])
def test_a_threshold_between_steps_decides_as_the_float(threshold: float) -> None:
    t = np.float32(threshold)
    near = [t, np.nextafter(t, np.float32(0)), np.nextafter(t, np.float32(1)), 0, 0.2, 0.7, 1]
    p = np.clip(np.float32(near), 0, 1)
    q = quantize(p.reshape(1, 1, -1), [threshold])[0, 0]
    assert ((q >= round(threshold * SCALE)) == (p >= t)).all()


def test_quantized_probabilities_are_near_and_each_plane_has_its_own_threshold() -> None:
    p = np.random.default_rng(1).random((2, 5, 7), np.float32)
    q = quantize(p, [1 / 3, None])
    assert q.dtype == np.uint16 and np.abs(q / SCALE - p).max() < 1.1 / SCALE
    assert ((q[0] >= round(SCALE / 3)) == (p[0] >= np.float32(1 / 3))).all()


def test_arrays_are_aligned_and_described() -> None:
    arrays = {"odd": np.arange(3, dtype=np.uint8), "planes": np.arange(6, dtype=np.uint16)}
    frame = pack_frame({"name": "ä"}, {**arrays, "wide": arrays["planes"].reshape(2, 3)})
    (length,) = struct.unpack_from("<I", frame)
    meta = json.loads(frame[4 : 4 + length])
    assert meta["name"] == "ä"
    for name, array in {**arrays, "wide": arrays["planes"].reshape(2, 3)}.items():
        entry = meta["arrays"][name]
        start = 4 + length + entry["offset"]
        assert start % 8 == 0  # typed arrays of the browser need whole numbers of elements
        assert frame[start : start + entry["length"]] == array.tobytes()
        assert (entry["shape"], entry["type"]) == (list(array.shape), array.dtype.name)
