"""Sample images of a bundle: validation images with the masks that the bundle predicts for them."""

import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import DataError, UserError
from harness.data.datasets.sources import SYNTHETIC, open_source
from harness.data.files.encode import encode_png
from harness.data.files.image_io import read_pair
from harness.data.splits.split_file import SplitRow, read_split
from harness.deploy.card.weak_points import image_dice
from harness.deploy.deployment import Deployment
from harness.deploy.export.runner_process import run_bundle
from harness.evaluation.held_out.weights import TrialWeights
from harness.training.metrics.image_scores import metrics_per_entry, read_scores

SAMPLES_FOLDER: Final = "samples"
_MASKS_FOLDER: Final = f"{SAMPLES_FOLDER}/masks"


@dataclass(frozen=True)
class BundleSample:
    """A sample image of a bundle, as `model.json` describes it.

    Attributes:
        kind: typical, best or worst; first, middle or last if the images have no scores.
        file: path in the bundle; PNG, or .npy for channels that PNG does not have.
        image: path in the data set.
        dice: at `eval_size`, as in validation; None: no score.
    """

    kind: str
    file: str
    image: str
    dice: float | None


def has_samples(deployment: Deployment, requested: bool | None) -> bool:
    """True if the bundle gets samples: by request, else only of images that harness generated.

    Raises:
        UserError: they are requested, but the images are missing.
    """
    data = deployment.context.config.data
    if requested is None and data.root != SYNTHETIC:
        return False
    if requested is False:
        return False
    try:
        source = open_source(deployment.context.data_root)
        for _, row, _ in _choose_rows(deployment.weights[0]):
            source.size(row.image)
    except (DataError, UserError, OSError) as error:
        if requested is None:
            return False
        raise UserError(f"--samples: the validation images are missing ({error})") from None
    return True


def write_samples(deployment: Deployment, folder: Path) -> list[dict[str, Any]]:
    """Write three images, and their masks by the bundle in `folder`; entries for `model.json`.

    The pixels are written again, upright: no metadata of a file (position, names, dates) is copied.

    Raises:
        DataError: an image is missing or has changed.
        UserError: the runner of the bundle fails.
    """
    config, source = deployment.context.config, open_source(deployment.context.data_root)
    samples: list[BundleSample] = []
    (folder / SAMPLES_FOLDER).mkdir()
    for kind, row, dice in _choose_rows(deployment.weights[0]):
        image = read_pair(
            source, row.image, row.masks, config.data, config.limits.max_pixels, row.hashes
        ).image
        content, suffix = encode_pixels(image)
        name = f"{SAMPLES_FOLDER}/{kind}{suffix}"
        (folder / name).write_bytes(content)
        samples.append(BundleSample(kind, name, row.image, dice))
    run_bundle(folder, folder / SAMPLES_FOLDER, folder / _MASKS_FOLDER)
    return [asdict(sample) for sample in samples]


def encode_pixels(image: NDArray[Any]) -> tuple[bytes, str]:
    """Bytes and suffix of a file that the runner reads to this array (H, W, C)."""
    if image.shape[2] in (1, 3):
        return encode_png(image), ".png"
    return npy_bytes(image), ".npy"


def npy_bytes(array: NDArray[Any]) -> bytes:
    """Bytes of a .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(array))
    return buffer.getvalue()


def _choose_rows(weights: TrialWeights) -> list[tuple[str, SplitRow, float | None]]:
    """Kind, row and Dice of three validation images, or of as many as there are."""
    rows = [row for row in read_split(weights.split_csv) if row.role == "val"]
    ranked = _rank_rows(weights, rows)
    if not ranked:
        spread: Sequence[tuple[SplitRow, float | None]] = [(row, None) for row in rows]
        kinds = {"first": 0, "middle": len(rows) // 2, "last": len(rows) - 1}
    else:
        spread = ranked
        kinds = {"typical": len(ranked) // 2, "best": len(ranked) - 1, "worst": 0}
    chosen: dict[int, str] = {}
    for kind, index in kinds.items():
        if 0 <= index < len(spread):
            chosen.setdefault(index, kind)
    return [(kind, *spread[index]) for index, kind in chosen.items()]


def _rank_rows(
    weights: TrialWeights, rows: Sequence[SplitRow]
) -> list[tuple[SplitRow, float | None]]:
    """Rows with their Dice, the worst first; [] if the trial has no scores."""
    if not weights.paths.scores_csv.is_file():
        return []
    scores = read_scores(weights.paths.scores_csv)
    by_image = {row.image: row for row in rows}
    dice = image_dice(scores, metrics_per_entry(scores)["dice"])
    return [(by_image[image], value) for image, value in dice if image in by_image]
