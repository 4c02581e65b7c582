"""Confirming trials once more, at the validation images' own sizes, beside the ranking."""

from harness.config.progress import ProgressReporter
from harness.config.study_files import read_study_config
from harness.core.paths import StudyPaths, TrialPaths, Workspace
from harness.core.records import TrialRecord, read_records
from harness.core.study_lock import hold_study_lock
from harness.data.datasets.sources import find_data, source_folder
from harness.data.splits.splits import read_split
from harness.evaluation.held_out.images import EvaluationImages, check_images_unchanged
from harness.evaluation.held_out.measure import ImageEvaluator
from harness.evaluation.held_out.weights import TrialWeights
from harness.training.metrics.image_scores import write_scores


def measure_native_size(
    workspace: Workspace, paths: StudyPaths, device: str, progress: ProgressReporter
) -> None:
    """Write `best/own-sizes.csv` of each complete confirming trial that lacks it.

    It has the columns of scores.csv, and those that a look's has. Only validation images are
    opened, each by the weights that have not been trained on it.

    Raises:
        UserError, DataError: an image has changed or cannot be read; the study is led elsewhere.
    """
    with hold_study_lock(paths):
        for record in read_records(paths.confirm):
            trial = paths.confirm.trial(record.number)
            has_weights = record.state == "complete" and trial.model.is_dir()
            if has_weights and not trial.native_size_csv.exists():
                _measure_trial(workspace, paths, record, trial, device, progress)


def _measure_trial(
    workspace: Workspace,
    paths: StudyPaths,
    record: TrialRecord,
    trial: TrialPaths,
    device: str,
    progress: ProgressReporter,
) -> None:
    from harness.training.hardware.device import pick_device  # noqa: PLC0415  # brings torch
    from harness.training.metrics.native_size import NativePredictor  # noqa: PLC0415

    config = read_study_config(paths)
    weights = TrialWeights(str(record.number), trial, paths.confirm.split_for(record.labels))
    images = EvaluationImages(
        f"val at their own sizes, confirming trial {record.number}",
        source_folder(find_data(config.data.root, workspace)),
        tuple(row for row in read_split(weights.split_csv) if row.role == "val"),
        config.data,
        config.limits.max_pixels,
    )
    check_images_unchanged(images)
    network = NativePredictor(trial.model, weights.config, config.data, pick_device(device))
    evaluator = ImageEvaluator([network], config.data, tta=False, progress=progress)
    write_scores(trial.native_size_csv, evaluator.score_images(images, None))
