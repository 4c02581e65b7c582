"""Run `harness test`: the only code that opens the test split, after recording that in the ledger.

Once a study has its split, no other command opens the files of its test images (they are sealed).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from harness.config.progress import ProgressReporter
from harness.config.study_files import read_study_config
from harness.core import files
from harness.core.environment import read_environment
from harness.core.errors import UserError
from harness.core.paths import StudyPaths
from harness.core.study_lock import hold_study_lock
from harness.core.timestamps import utc_timestamp
from harness.data.splits.split_file import SplitRow, read_split
from harness.evaluation.decision.frozen_rule import describe_rule, load_or_choose_rule
from harness.evaluation.held_out.images import (
    EvaluationImages,
    check_dataset_name,
    check_images_present,
    load_external_images,
)
from harness.evaluation.held_out.ledger import (
    TEST_SPLIT,
    HeldOutTest,
    LedgerDataset,
    LedgerFailure,
    LedgerFinish,
    LedgerStart,
    LedgerThresholds,
    append_to_ledger,
    ledger_warning,
    next_test_number,
    read_held_out_ledger,
)
from harness.evaluation.held_out.measure import ImageEvaluator, class_thresholds
from harness.evaluation.held_out.results import compute_results, measure_steps
from harness.evaluation.held_out.weights import select_weights
from harness.search.definition.context import StudyContext, open_context
from harness.search.definition.definition import StudyDefinition
from harness.search.definition.options import RunOptions
from harness.space.space import SearchSpace
from harness.training.metrics.image_scores import write_scores


@dataclass(frozen=True)
class HeldOutRequest:
    """Options of `harness test`.

    Attributes:
        trial: number of a trial of the search; None: the confirmed choice.
        ensemble: average over all confirmed seeds of the choice.
        tta: test-time augmentation: average over four flips of each image.
        on: folders of further data sets by name; with any, the test split is not opened.
    """

    trial: int | None = None
    ensemble: bool = False
    tta: bool = False
    on: Mapping[str, str] = field(default_factory=dict)


def run_test(
    options: RunOptions, request: HeldOutRequest, progress: ProgressReporter
) -> list[HeldOutTest]:
    """Evaluate the selected weights on held-out images and record the test run in the ledger.

    Everything is checked first, and the decision rule is read, or chosen on validation images and
    frozen, and recorded; only then is the first held-out image decoded.

    Returns:
        The test runs, in order; each is in the ledger already.

    Raises:
        UserError: the user must change something first; no image was opened or run recorded.
        DataError, DivergedError: a test run failed after it began; the ledger records it.
    """
    paths = options.stores.workspace.study(options.search.study or "")
    with hold_study_lock(paths):
        for name in request.on:
            check_dataset_name(name)
        context = open_context(options, paths, progress, lambda: _read_definition(paths))
        return _HeldOutSession(context, request, progress).run()


def _read_definition(paths: StudyPaths) -> StudyDefinition:
    """The recorded settings. Trained weights need no space, so none is read or checked."""
    return StudyDefinition(read_study_config(paths), SearchSpace(), is_started=True)


class _HeldOutSession:
    """One call of `harness test`; the caller holds the study's lock."""

    def __init__(
        self, context: StudyContext, request: HeldOutRequest, progress: ProgressReporter
    ) -> None:
        self._context, self._request, self._progress = context, request, progress
        self._workspace, self._paths = context.workspace, context.paths
        self._config = context.config
        self._weights = select_weights(
            self._paths, request.trial, ensemble=request.ensemble, keep=self._config.budget.keep
        )
        self._image_sets = self._find_image_sets(read_split(self._paths.split_csv))
        self._device = self._describe_device()
        labels = " + ".join(weights.label for weights in self._weights)
        progress.stage(
            f"study {self._paths.name} · trial {labels} · device {self._device}"
            f"{' · four flips' if request.tta else ''}"
        )
        # Before any test image is opened: these images must not influence the rule.
        self._rule = load_or_choose_rule(context, self._weights, progress, tta=request.tta)
        progress.stage(f"decision rule: {describe_rule(self._rule, self._config.data)}")
        self._evaluator = self._load_networks()

    def run(self) -> list[HeldOutTest]:
        """Test one data set after the other, by the frozen rule."""
        return [self._test_images(images) for images in self._image_sets]

    def _find_image_sets(self, split: Sequence[SplitRow]) -> list[EvaluationImages]:
        data, max_pixels = self._config.data, self._config.limits.max_pixels
        if self._request.on:
            return [
                load_external_images(
                    name,
                    folder,
                    self._workspace,
                    split,
                    data,
                    max_pixels,
                    on_warning=self._progress.stage,
                )
                for name, folder in self._request.on.items()
            ]
        images = self._make_images(TEST_SPLIT, [row for row in split if row.role == "test"])
        if not images.rows:
            raise UserError(
                f"{self._paths.split_csv}: the split has no test images; "
                "give a data set with --on NAME=FOLDER"
            )
        # Only their presence is checked: hashing would open them before the ledger records it.
        check_images_present(images)
        return [images]

    def _make_images(self, name: str, rows: Sequence[SplitRow]) -> EvaluationImages:
        config, root = self._config, self._context.data_root
        return EvaluationImages(name, root, tuple(rows), config.data, config.limits.max_pixels)

    def _describe_device(self) -> str:
        from harness.training.hardware.device import describe_device  # noqa: PLC0415  # imports torch

        return describe_device(self._context.device)

    def _load_networks(self) -> ImageEvaluator:
        from harness.training.metrics.native_size import load_predictors  # noqa: PLC0415  # imports torch

        device, data = self._context.device, self._config.data
        members = [(weights.paths.model, weights.config) for weights in self._weights]
        predictors = load_predictors(members, data, device)
        return ImageEvaluator(predictors, data, tta=self._request.tta, progress=self._progress)

    def _test_images(self, images: EvaluationImages) -> HeldOutTest:
        """Test one data set: record the start, open and measure the images, record the end."""
        ledger = read_held_out_ledger(self._paths)
        message = ledger_warning(self._paths, ledger)
        if message is not None:
            self._progress.stage(message)
        start = self._make_start(images, next_test_number(self._paths, ledger))
        # Before the first image is decoded: if this line cannot be written, nothing may be opened.
        append_to_ledger(self._paths, start)
        try:
            finish = self._measure_images(images, start.look)
        except BaseException as error:  # also Ctrl-C: the images have been opened
            text = " ".join(str(error).split())[:300]
            error_text = f"{type(error).__name__}: {text}" if text else type(error).__name__
            append_to_ledger(
                self._paths,
                LedgerFailure(look=start.look, at=utc_timestamp("seconds"), error=error_text),
            )
            raise
        append_to_ledger(self._paths, finish)
        return HeldOutTest(start, finish)

    def _make_start(self, images: EvaluationImages, number: int) -> LedgerStart:
        rule, names = self._rule.rule, self._config.data.classes
        thresholds = class_thresholds(rule, self._config.data) or {}
        return LedgerStart(
            look=number,
            at=utc_timestamp("seconds"),
            weights={weights.label: weights.sha256 for weights in self._weights},
            data=LedgerDataset(
                name=images.name, n_images=len(images.rows), sha256=images.content_hash
            ),
            chosen=LedgerThresholds(
                thresholds={names[index]: value for index, value in thresholds.items()},
                # Argmax without clean-up rests on no image.
                n_images=self._rule.n_images if thresholds or rule.cleans else 0,
            ),
            rule=rule if rule.cleans else None,
            tta=self._request.tta,
            ensemble=self._request.ensemble,
            device=self._device,
            versions=read_environment(self._workspace.root).versions,
        )

    def _measure_images(self, images: EvaluationImages, number: int) -> LedgerFinish:
        data = self._config.data
        scores = self._evaluator.score_images(images, self._rule.rule)
        test_paths = self._paths.test_run(number)
        write_scores(test_paths.scores_csv, scores)
        for name, picture in self._evaluator.render_examples(images, scores).items():
            # Pictures come after the scores: should rendering fail, the numbers are already on
            # disk.
            files.write_bytes(test_paths.image(name), picture)
        return LedgerFinish(
            look=number,
            at=utc_timestamp("seconds"),
            scores_sha256=files.file_sha256(test_paths.scores_csv),
            results=tuple(compute_results(scores, data)),
            steps=tuple(measure_steps(scores, self._rule.rule, data)),
        )
