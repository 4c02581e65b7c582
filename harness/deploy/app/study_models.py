"""Networks of a study behind the page: the default one, and every trial that keeps its weights."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from harness.config.progress import ProgressReporter
from harness.core.errors import DataError, UserError
from harness.core.records import read_records
from harness.data.files.decode import TooManyPixelsError
from harness.data.splits.split_file import SplitRow, read_split
from harness.deploy.app.limits import MAX_LOADED, MAX_VALUES, N_SAMPLES
from harness.deploy.app.served_model import ModelChoice, ModelFacts, SampleImage, StoredImage
from harness.deploy.app.study_numbers import describe_numbers
from harness.deploy.app.uploads import read_upload
from harness.deploy.deployment import Deployment, DeploymentRequest, open_deployment
from harness.deploy.prediction import Prediction
from harness.deploy.predictor import Predictor
from harness.evaluation.held_out.images import EvaluationImages
from harness.evaluation.held_out.weights import select_weights
from harness.search.definition.options import RunOptions

_DEFAULT = "default"  # key of the confirmed choice, which is no trial of the search


class StudyModel:
    """Weights of a study, loaded."""

    def __init__(self, key: str, title: str, deployment: Deployment) -> None:
        self._data = deployment.context.config.data
        self._predictor = Predictor(deployment)
        self.facts = ModelFacts(key, title, deployment.reason, self._data, deployment.rule.rule)

    def read(self, data: bytes) -> StoredImage:
        """Decode an uploaded file. Raises DataError, its message without a file name."""
        return read_upload(
            data, self._data.channels, self._data.range, n_planes=self._data.n_outputs
        )

    def predict(self, image: StoredImage) -> Prediction:
        """Mask and probabilities at the image's size."""
        return self._predictor.predict([image])[0]


@dataclass(frozen=True)
class _Samples:
    """Validation images of the default weights; `images` is None where they are not at hand."""

    images: EvaluationImages | None
    note: str

    @property
    def rows(self) -> tuple[SplitRow, ...]:
        return () if self.images is None else self.images.rows


class StudyModels:
    """Models of a study, at most `MAX_LOADED` of them in memory; one thread at a time.

    Args:
        options: study, workspace and device.
        trial: number of the default trial; None: the confirmed choice, else the leading trial.
        compare: number of the trial to compare with from the start.

    Raises:
        UserError: the study or a trial does not exist, or has no weights.
    """

    def __init__(
        self,
        options: RunOptions,
        trial: int | None,
        compare: int | None,
        progress: ProgressReporter,
    ) -> None:
        self._options, self._progress = options, progress
        deployment = open_deployment(options, DeploymentRequest(trial=trial), progress)
        paths, config = deployment.context.paths, deployment.context.config
        if compare is not None:
            select_weights(paths, compare, keep=config.budget.keep)  # raises before the page opens
        label = deployment.label
        key = label if label.isdigit() else _DEFAULT
        self.title, self.data = paths.name, config.data
        self.choices: Sequence[ModelChoice] = _list_choices(deployment, key)
        self.compared = None if compare is None else str(compare)
        self.reason = deployment.reason
        self.numbers: Sequence[tuple[str, str]] = describe_numbers(deployment)
        self._samples = _find_samples(deployment)
        self.sample_names: Sequence[str] = [row.image for row in self._samples.rows]
        self.sample_note = self._samples.note
        self._loaded: OrderedDict[str, StudyModel] = OrderedDict()
        self._loaded[key] = StudyModel(key, self.choices[0].title, deployment)

    def load(self, key: str) -> StudyModel:
        """The model of a choice; the one that was used longest ago gives way to it.

        Raises:
            KeyError: no choice has this key.
            UserError: its weights are gone, or its rule cannot be chosen.
        """
        title = {choice.key: choice.title for choice in self.choices}[key]
        if key not in self._loaded:
            request = DeploymentRequest(trial=None if key == _DEFAULT else int(key))
            deployment = open_deployment(self._options, request, self._progress)
            # Removed first: three networks at a time might not fit into the memory of a GPU.
            while len(self._loaded) >= MAX_LOADED:
                self._loaded.popitem(last=False)
            self._loaded[key] = StudyModel(key, title, deployment)
        self._loaded.move_to_end(key)
        return self._loaded[key]

    def read_sample(self, index: int) -> SampleImage:
        """Decode a validation image and its mask.

        Raises:
            IndexError: no such sample.
            DataError: a file is missing, has changed, or is too large for the page.
        """
        row = self._samples.rows[index]
        assert self._samples.images is not None, "there are rows"
        try:
            pair = self._samples.images.read_one(row)
        except TooManyPixelsError:
            limit = self._samples.images.max_pixels
            raise DataError(
                f"this sample has more than {limit:,.0f} pixels, the limit of this page; use "
                "harness predict"
            ) from None
        except DataError:
            raise DataError("this sample is missing or has changed since the split") from None
        return SampleImage(pair.image, pair.mask)


def _list_choices(deployment: Deployment, key: str) -> tuple[ModelChoice, ...]:
    """The default model, then the trials that keep their weights, best first."""
    context = deployment.context
    with_weights = {trial.number for trial in context.paths.all_trials() if trial.model.is_dir()}
    ranked = context.config.objective.ranked(read_records(context.paths))
    metric = context.config.objective.metric
    choices = [
        ModelChoice(str(record.number), f"trial {record.number} · {metric} {record.value:.4f}")
        for record in ranked
        if record.number in with_weights
    ]
    if key == _DEFAULT:
        return ModelChoice(key, f"confirmed choice ({deployment.label})"), *choices
    first = [choice for choice in choices if choice.key == key]
    # Requested weights of a trial that is not complete have no rank.
    default = first[0] if first else ModelChoice(key, f"trial {key}")
    leading = ranked[0].number if ranked else None
    if key == str(leading):
        default = replace(default, title=f"{default.title} (leading)")
    return default, *(choice for choice in choices if choice.key != key)


def _find_samples(deployment: Deployment) -> _Samples:
    """Up to N_SAMPLES validation images, spread over the split; test images are never offered."""
    context = deployment.context
    try:
        root = context.data_root
    except UserError:
        return _Samples(None, "No samples: the study's images are not on this machine.")
    # Of the first member's own split: with folds, other images trained its weights.
    rows = [row for row in read_split(deployment.weights[0].split_csv) if row.role == "val"]
    step = max(1, len(rows) / N_SAMPLES)
    chosen = tuple(rows[int(k * step)] for k in range(min(len(rows), N_SAMPLES)))
    data = context.config.data
    max_pixels = min(context.config.limits.max_pixels, MAX_VALUES // data.n_outputs)
    images = EvaluationImages("val", root, chosen, data, max_pixels)
    return _Samples(
        images,
        f"{len(chosen)} of {len(rows)} validation images. They chose these weights, so results on "
        "them look better than on new images.",
    )
