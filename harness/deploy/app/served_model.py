"""Contract between the page and the networks behind it: those of a study, or that of a bundle."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from harness.config.data import StudyDataConfig
from harness.config.decision_rule import DecisionRule
from harness.data.files.overlay import CLASS_COLOURS, Colour, background_classes
from harness.deploy.prediction import Prediction

StoredImage = NDArray[Any]  # uint8 or uint16 (H, W, C)
# Of two-class tasks: the green of a hit in the report. Class colours begin with orange, which is
# hard to see on red mucosa.
_FOREGROUND: Colour = (0, 190, 140)


@dataclass(frozen=True)
class ModelChoice:
    """An entry of the page's list of models; `key` is its name in requests."""

    key: str
    title: str


@dataclass(frozen=True)
class ModelFacts:
    """Description of a loaded model for the page.

    Attributes:
        reason: one sentence: which weights these are, and why.
        data: task, classes and stored values of the images.
    """

    key: str
    title: str
    reason: str
    data: StudyDataConfig
    rule: DecisionRule

    @property
    def n_planes(self) -> int:
        """Number of probabilities for each pixel."""
        return self.data.n_outputs

    def as_json(self) -> dict[str, Any]:
        """Values for the page's script."""
        data = self.data
        is_binary = data.task == "binary"
        background = {0} if is_binary else background_classes(data.classes)
        colours = [CLASS_COLOURS[k % len(CLASS_COLOURS)] for k in range(len(data.classes))]
        if is_binary:
            colours[1] = _FOREGROUND
        return {
            "key": self.key,
            "title": self.title,
            "reason": self.reason,
            "task": data.task,
            "classes": [
                {
                    "name": name,
                    "colour": "#{:02x}{:02x}{:02x}".format(*colour),
                    "background": k in background,
                }
                for k, (name, colour) in enumerate(zip(data.classes, colours, strict=True))
            ],
            "planes": list(data.scored_classes),
            "rule": self.rule.model_dump(mode="json")["classes"],
        }


class ServedModel(Protocol):
    """One loaded network, or an ensemble."""

    @property
    def facts(self) -> ModelFacts: ...

    def read(self, data: bytes) -> StoredImage:
        """Decode an uploaded file. Raises DataError, its message without a file name."""
        ...

    def predict(self, image: StoredImage) -> Prediction:
        """Mask and probabilities at the image's size. Raises HarnessError."""
        ...


@dataclass(frozen=True)
class SampleImage:
    """A sample as the page receives it; `truth` is its mask, None where there is no such file."""

    image: StoredImage
    truth: NDArray[np.uint8] | None


class ModelCollection(Protocol):
    """Everything that one page can show.

    Attributes:
        title: name of the study or the bundle.
        data: task, classes and stored values of the images, the same for all its models.
        choices: models, the default one first.
        compared: key of the model that the page compares with from the start; None: no comparison.
        reason: one sentence: which weights the default model has, and why.
        numbers: sentences on how good the default model is, each with its heading.
        sample_names: names of the sample images.
        sample_note: one sentence: what the samples are, or why there are none.
    """

    title: str
    data: StudyDataConfig
    choices: Sequence[ModelChoice]
    compared: str | None
    reason: str
    numbers: Sequence[tuple[str, str]]
    sample_names: Sequence[str]
    sample_note: str

    def load(self, key: str) -> ServedModel:
        """The model of a choice, loaded if it is not in memory. Raises HarnessError, KeyError."""
        ...

    def read_sample(self, index: int) -> SampleImage:
        """Decode a sample. Raises DataError, IndexError."""
        ...
