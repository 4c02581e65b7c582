"""Network of an exported bundle behind the page; our own copy of the runner computes it.

A bundle may come from anywhere. Its `predict.py` is never run; its `model.json` is checked here,
and the runner compares the hash of the model file before it opens it.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.config.data import StudyDataConfig
from harness.config.decision_rule import DecisionRule
from harness.core.errors import DataError, UserError
from harness.core.text import count
from harness.deploy.app.limits import MAX_UPLOAD_BYTES, MAX_VALUES, N_SAMPLES
from harness.deploy.app.rule_text import describe_rule
from harness.deploy.app.served_model import (
    ModelChoice,
    ModelFacts,
    SampleImage,
    StoredImage,
)
from harness.deploy.prediction import Prediction
from harness.deploy.runner import predict as runner

_KEY = "bundle"
_MAX_SPEC_BYTES = 1_000_000
_MAX_SIDE = 8192  # of the network's input


class _BundlePart(BaseModel):
    # Entries that the page does not need may be added to format 1.
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, allow_inf_nan=False)


class _BundleClass(_BundlePart):
    name: str


class _BundleInput(_BundlePart):
    height: int = Field(ge=1, le=_MAX_SIDE)
    width: int = Field(ge=1, le=_MAX_SIDE)
    channels: int = Field(ge=1, le=64)
    range: list[float] = Field(min_length=2, max_length=2)


class _BundleModel(_BundlePart):
    file: str
    format: Literal["onnx"]
    precision: str = Field("fp32", max_length=40)


class _BundleParity(_BundlePart):
    images: str = Field("validation", max_length=100)
    n_images: int = Field(ge=0)
    equal_pixels: float = Field(ge=0, le=1)


class _BundleSample(_BundlePart):
    kind: str = Field(max_length=20)
    # No other folder, and no way out of this one.
    file: str = Field(pattern=r"^samples/[a-z]{1,20}\.(png|npy)$")
    image: str = Field(max_length=1000)


class BundleDescription(_BundlePart):
    """The part of a bundle's `model.json` (format 1) that the page needs."""

    format: Literal[1]
    study: str = Field(max_length=200)
    trial: str = Field(max_length=200)
    task: Literal["binary", "multiclass", "multilabel"]
    classes: list[_BundleClass] = Field(min_length=1, max_length=255)
    decision: DecisionRule
    input: _BundleInput
    model: _BundleModel
    licences: dict[str, str | None] = Field({}, max_length=20)
    parity: _BundleParity | None = None
    samples: list[_BundleSample] = Field([], max_length=N_SAMPLES)
    files: dict[str, str] = Field({}, max_length=100)
    created: str = Field("", max_length=40)

    @property
    def data(self) -> StudyDataConfig:
        """The images and classes as settings of a study. Raises ValidationError."""
        low, high = self.input.range
        return StudyDataConfig(
            task=self.task,
            classes=tuple(entry.name for entry in self.classes),
            channels=self.input.channels,
            range=(low, high),
        )


class BundleNetwork:
    """A bundle's network, loaded. Raises UserError if the bundle cannot be used."""

    def __init__(self, folder: Path) -> None:
        self.description = read_description(folder)
        self.data = self.description.data
        try:
            self._model = runner.Model(folder)
        except ImportError:
            raise UserError(
                'bundles need onnxruntime: pip install "segmentation-harness[onnx]"'
            ) from None
        # onnxruntime raises its own types, without a common base, for files that it cannot open.
        except Exception as error:
            raise UserError(f"--bundle {folder}: {_first_line(error)}") from None
        description = self.description
        title = f"{description.study}, trial {description.trial}"
        self.facts = ModelFacts(
            key=_KEY,
            title=title,
            reason=f"bundle of study {description.study}, trial {description.trial}, "
            f"{description.model.precision}",
            data=self.data,
            rule=description.decision,
        )

    def read(self, data: bytes) -> StoredImage:
        """Decode an uploaded file as the runner does; the message has no file name."""
        spec = self._model.spec
        limit = min(spec["input"].get("max_pixels", MAX_VALUES), MAX_VALUES // self.data.n_outputs)
        try:
            image: StoredImage = runner.read_image(
                data, {**spec, "input": {**spec["input"], "max_pixels": limit}}
            )
        except ValueError as error:
            raise DataError(_first_line(error)) from None
        return image

    def predict(self, image: StoredImage) -> Prediction:
        """Mask and probabilities at the image's size."""
        try:
            mask, p = self._model.predict(image)
        except (ValueError, RuntimeError) as error:
            raise DataError(f"the bundle's network failed: {_first_line(error)}") from None
        return Prediction(mask, p)


class BundleModels:
    """The single network of a bundle. Raises UserError if the bundle cannot be used."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._network = folder, BundleNetwork(folder)
        description = self._network.description
        self.title, self.data = description.study, self._network.data
        self.choices: Sequence[ModelChoice] = (ModelChoice(_KEY, self._network.facts.title),)
        self.compared: str | None = None
        self.reason = self._network.facts.reason
        self.numbers: Sequence[tuple[str, str]] = _describe(description)
        self.sample_names: Sequence[str] = [
            f"{sample.kind}: {sample.image}" for sample in description.samples
        ]
        self.sample_note = (
            f"{count(len(description.samples), 'validation image')} in the bundle. They chose its "
            "weights, so results on them look better than on new images."
            if description.samples
            else "This bundle has no sample images (harness export --samples)."
        )

    def load(self, key: str) -> BundleNetwork:
        """The network. Raises KeyError for another key."""
        if key != _KEY:
            raise KeyError(key)
        return self._network

    def read_sample(self, index: int) -> SampleImage:
        """Decode a sample of the bundle; its annotation is not in it.

        Raises:
            IndexError: no such sample.
            DataError: its file is missing or has changed.
        """
        description = self._network.description
        name = description.samples[index].file
        path = self._folder / name
        # Resolved, as a link could lead to any file of this machine.
        if path.resolve() != self._folder.resolve() / name or not path.is_file():
            raise DataError("this sample is missing in the bundle")
        if path.stat().st_size > MAX_UPLOAD_BYTES:
            raise DataError("this sample is too large for the page")
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != description.files.get(name):
            raise DataError("this sample has changed since the export")
        return SampleImage(self._network.read(content), None)


def read_description(folder: Path) -> BundleDescription:
    """Read and check `model.json`. Raises UserError with one sentence."""
    path = folder / "model.json"
    if not path.is_file():
        raise UserError(f"--bundle {folder}: no model.json; name a folder of harness export")
    if path.stat().st_size > _MAX_SPEC_BYTES:
        raise UserError(f"{path}: too large for the description of a bundle")
    try:
        description = BundleDescription.model_validate_json(path.read_bytes())
        n_planes = len(description.data.scored_classes)
    except ValidationError as error:
        first = error.errors()[0]
        location = ".".join(map(str, first["loc"])) or "content"
        raise UserError(f"{path}: {location}: {first['msg']}; export the bundle again") from None
    if description.decision.task != description.task or n_planes != len(
        description.decision.classes
    ):
        raise UserError(f"{path}: the decision rule is of other classes; export the bundle again")
    return description


def _describe(description: BundleDescription) -> list[tuple[str, str]]:
    data = description.data
    names = [data.classes[index] for index in data.scored_classes]
    lines = [("decision", describe_rule(names, description.decision.classes))]
    if description.parity is not None:
        parity = description.parity
        lines.append(
            (
                "parity",
                f"{100 * parity.equal_pixels:.4f} % of the pixels of {parity.n_images} images "
                f"({parity.images}) are decided as in the study",
            )
        )
    lines += [(f"licence of {name}", text) for name, text in description.licences.items() if text]
    return [*lines, ("exported", description.created)] if description.created else lines


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
