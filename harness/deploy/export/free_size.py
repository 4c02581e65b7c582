"""Parity of a graph with free height and width, at sizes that it was not recorded with."""

from pathlib import Path

import numpy as np
import torch

from harness.core.errors import UserError
from harness.deploy.export.formats import FORMATS, ExportFormat
from harness.deploy.export.graph import INPUT_NAMES, GraphSource
from harness.deploy.export.parity import MIN_EQUAL_PIXELS
from harness.deploy.runner.predict import open_session

_MAX_DP = 1e-3
# Added to height and width. Multiples of 32, which every architecture accepts.
_OTHER_SIZES = ((64, 0), (0, 96), (96, 64))


def check_free_size(source: GraphSource, folder: Path, format_name: ExportFormat) -> None:
    """Compare the graph in a folder with the network at three other sizes, on noise.

    PSPNet and UPerNet pool for the size that they were recorded with: some runtimes raise, others
    compute other numbers without a word.

    Raises:
        UserError: the network cannot be exported with free sizes.
    """
    advice = "leave out --free-size: the runner resizes images of any size"
    run = open_session(folder / FORMATS[format_name].file, format_name)
    for extra_height, extra_width in _OTHER_SIZES:
        size = source.size[0] + extra_height, source.size[1] + extra_width
        inputs = source.example_inputs(size=size)
        name = f"{source.name} as {format_name} at {size[1]}x{size[0]}"
        feed = {key: x.numpy() for key, x in zip(INPUT_NAMES, inputs, strict=False)}
        with torch.inference_mode():
            logits, expected = source.module(*inputs)
        # Runtimes raise classes of their own.
        try:
            outputs = np.array(run(feed)[0], np.float32)
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"{name} fails ({reason}); {advice}") from error
        if outputs.shape != tuple(logits.shape):
            raise UserError(f"{name} gives outputs of shape {outputs.shape}; {advice}")
        p = torch.from_numpy(outputs)
        p = p.softmax(dim=1) if source.module.is_exclusive else p.sigmoid()
        if source.module.is_exclusive:
            same = p.argmax(dim=1) == expected.argmax(dim=1)
        else:
            same = (p >= 0.5) == (expected >= 0.5)
        equal = same.double().mean().item()
        largest = (p - expected).abs().max().item()
        if not (equal >= MIN_EQUAL_PIXELS and largest <= _MAX_DP):
            raise UserError(
                f"{name} disagrees with the network ({100 * equal:.4f} % of pixels equal, largest "
                f"|dp| {largest:.1e}); {advice}"
            )
