"""Parity of a bundle with the study: the same files through its runner and through ours."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from harness.config.data import IGNORE_INDEX, StudyDataConfig
from harness.config.progress import ProgressReporter
from harness.core.errors import HarnessError
from harness.data.datasets.sources import open_source
from harness.data.files.image_io import read_pair
from harness.data.splits.split_file import SplitRow
from harness.deploy.deployment import Deployment
from harness.deploy.export.runner_process import run_bundle
from harness.deploy.export.samples import npy_bytes
from harness.deploy.predictor import Predictor
from harness.deploy.runner.predict import read_image
from harness.evaluation.held_out.weights import group_held_out_images

Array8 = NDArray[np.uint8]

MIN_EQUAL_PIXELS: Final = 0.9999
MAX_DICE_DIFFERENCE: Final = 1e-4
DEFAULT_PARITY_IMAGES: Final = 32
NOISE_SIZES: Final = ((17, 31), (64, 64), (200, 133), (375, 500), (90, 1200))  # height, width
_MAX_PLANE_BYTES = 300_000_000  # of probabilities that one run of the runner writes


@dataclass(frozen=True)
class ParityImage:
    """An image as the runner gets it, and as the study reads it.

    Attributes:
        file: its bytes, and the suffix of their format.
        truth: mask as in `LoadedPair`; None: there is none.
    """

    file: tuple[bytes, str]
    array: NDArray[Any]
    truth: Array8 | None


@dataclass(frozen=True)
class ParityResult:
    """Agreement of a bundle's masks and probabilities with those of the study.

    Attributes:
        images: "validation", or "noise" where the study's images are missing.
        equal_pixels: share of pixels whose decisions are equal, over all images.
        max_abs_dp: largest difference of a probability.
        ddice: mean Dice of the bundle minus that of the study; None: no truth.
        max_abs_ddice: largest difference of the Dice of an image and class; None: no truth.
    """

    images: Literal["validation", "noise"]
    n_images: int
    equal_pixels: float
    max_abs_dp: float
    ddice: float | None
    max_abs_ddice: float | None

    @property
    def passed(self) -> bool:
        """True if decisions and Dice agree within the limits."""
        dice_agrees = self.ddice is None or abs(self.ddice) <= MAX_DICE_DIFFERENCE
        return self.equal_pixels >= MIN_EQUAL_PIXELS and dice_agrees

    @property
    def sentence(self) -> str:
        """The figures in one line."""
        text = (
            f"{self.n_images} {self.images} images: {100 * self.equal_pixels:.4f} % of pixels "
            f"equal, largest |dp| {self.max_abs_dp:.1e}"
        )
        if self.ddice is None or self.max_abs_ddice is None:
            return f"{text}, no masks to compare Dice with"
        return f"{text}, dDice {self.ddice:+.1e} (largest of an image {self.max_abs_ddice:.1e})"

    def as_dict(self) -> dict[str, Any]:
        """Entries for `model.json`."""
        return asdict(self)


def measure_parity(
    deployment: Deployment, folder: Path, spec: dict[str, Any], n: int, progress: ProgressReporter
) -> ParityResult:
    """Run the bundle in `folder` in a process of its own, and compare with `Predictor`.

    Args:
        spec: content of its `model.json`.
        n: validation images, spread over the split; noise replaces them if they are missing.

    Raises:
        UserError: the bundle's runner fails.
    """
    predictor, data = Predictor(deployment), deployment.context.config.data
    counts: list[tuple[int, int, float]] = []
    dices: list[tuple[float, float]] = []
    kind, images = _choose_images(deployment, spec, n, progress)
    bar = progress.bar("comparing the bundle with the study")
    for group in _group_by_size(images, len(spec["decision"]["classes"])):
        for image, (mask, p) in zip(group, _run_bundle(folder, group, spec), strict=True):
            (prediction,) = predictor.predict([image.array])
            equal = prediction.mask == mask
            counts.append(
                (int(equal.sum()), equal.size, float(np.abs(prediction.probabilities - p).max()))
            )
            if image.truth is not None:
                dices += zip(
                    _dice_values(prediction.mask, image.truth, data),
                    _dice_values(mask, image.truth, data),
                    strict=True,
                )
            bar(len(counts), None)
    differences = [exported - original for original, exported in dices]
    return ParityResult(
        kind,
        len(counts),
        sum(n_equal for n_equal, _, _ in counts) / sum(n_pixels for _, n_pixels, _ in counts),
        max(dp for _, _, dp in counts),
        float(np.mean(differences)) if differences else None,
        float(np.abs(differences).max()) if differences else None,
    )


def _choose_images(
    deployment: Deployment, spec: dict[str, Any], n: int, progress: ProgressReporter
) -> tuple[Literal["validation", "noise"], Iterator[ParityImage]]:
    rows = [row for _, group in group_held_out_images(deployment.weights) for row in group]
    spread = np.unique(np.linspace(0, len(rows) - 1, min(n, len(rows))).round().astype(int))
    try:
        source = open_source(deployment.context.data_root)
        for index in spread:
            source.size(rows[index].image)
    except (HarnessError, OSError) as error:
        progress.stage(f"parity is measured on noise: the validation images are missing ({error})")
        return "noise", _noise_images(deployment.context.config.data)
    return "validation", _validation_images(deployment, [rows[k] for k in spread], spec)


def _validation_images(
    deployment: Deployment, rows: Sequence[SplitRow], spec: dict[str, Any]
) -> Iterator[ParityImage]:
    config = deployment.context.config
    source = open_source(deployment.context.data_root)
    for row in rows:
        pair = read_pair(
            source, row.image, row.masks, config.data, config.limits.max_pixels, row.hashes
        )
        with source.open(row.image) as handle:
            content = handle.read()
        try:
            read_image(content, spec)
        except ValueError:  # a kind of file that the runner refuses, such as a TIFF of 5 channels
            file = npy_bytes(pair.image), ".npy"
        else:
            file = content, Path(row.image).suffix
        yield ParityImage(file, pair.image, pair.mask)


def _noise_images(data: StudyDataConfig) -> Iterator[ParityImage]:
    rng = np.random.default_rng(0)
    dtype, high = (np.uint16, data.range[1]) if data.bit_depth == 16 else (np.uint8, 255)
    for height, width in NOISE_SIZES:
        noise = rng.integers(0, int(high) + 1, (height, width, data.channels)).astype(dtype)
        yield ParityImage((npy_bytes(noise), ".npy"), noise, None)


def _group_by_size(images: Iterator[ParityImage], n_planes: int) -> Iterator[list[ParityImage]]:
    """Groups whose probabilities together do not fill the disk."""
    group: list[ParityImage] = []
    n_bytes = 0
    for image in images:
        size = 4 * n_planes * image.array.shape[0] * image.array.shape[1]
        if group and n_bytes + size > _MAX_PLANE_BYTES:
            yield group
            group, n_bytes = [], 0
        group.append(image)
        n_bytes += size
    if group:
        yield group


def _run_bundle(
    folder: Path, images: Sequence[ParityImage], spec: dict[str, Any]
) -> list[tuple[Array8, NDArray[np.float32]]]:
    """Masks and probabilities that `predict.py` writes for these files."""
    with tempfile.TemporaryDirectory() as temporary:
        inputs, out = Path(temporary, "images"), Path(temporary, "out")
        inputs.mkdir()
        for index, image in enumerate(images):
            content, suffix = image.file
            (inputs / f"{index:03d}{suffix}").write_bytes(content)
        run_bundle(folder, inputs, out, "--probabilities")
        return [_read_outputs(out, f"{index:03d}", spec) for index in range(len(images))]


def _read_outputs(out: Path, stem: str, spec: dict[str, Any]) -> tuple[Array8, NDArray[np.float32]]:
    task = spec["task"]
    suffixes = [f"-{entry['name']}" for entry in spec["classes"]] if task == "multilabel" else [""]
    planes = []
    for suffix in suffixes:
        data = np.frombuffer((out / f"{stem}{suffix}.png").read_bytes(), np.uint8)
        plane = np.asarray(cv2.imdecode(data, cv2.IMREAD_UNCHANGED), np.uint8)
        planes.append(plane if task == "multiclass" else plane // np.uint8(255))
    mask = np.stack(planes, axis=2) if task == "multilabel" else planes[0]
    return mask, np.load(out / f"{stem}.npy", allow_pickle=False)


def _dice_values(mask: Array8, truth: Array8, data: StudyDataConfig) -> list[float]:
    """Dice of each scored class that the truth contains, over pixels that are not ignored."""
    values = []
    for index in data.scored_classes:
        if truth.ndim == 3:
            y, predicted = truth[..., index] == 1, mask[..., index] == 1
        else:
            counts = truth != IGNORE_INDEX
            y, predicted = (truth == index)[counts], (mask == index)[counts]
        if y.any():
            values.append(float(2 * (y & predicted).sum() / (y.sum() + predicted.sum())))
    return values
