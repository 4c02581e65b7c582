"""Confirming trials once more, at the validation images' own sizes, beside the ranking."""

from harness.data.sources import find_data, source_folder
from harness.data.splits import read_split
from harness.evaluation.sealed_choice import Weights
from harness.evaluation.sealed_data import Images, check_unchanged
from harness.evaluation.sealed_measure import Measure
from harness.paths import StudyPaths, TrialPaths, Workspace
from harness.records import TrialRecord, read_records
from harness.search.earlier import read_config
from harness.search.lock import leading
from harness.search.progress import Progress
from harness.training.metrics import write_scores


def measure_own_sizes(
    workspace: Workspace, paths: StudyPaths, device: str, progress: Progress
) -> None:
    """Write `best/own-sizes.csv` of each complete confirming trial that lacks it.

    It has the columns of scores.csv, and those that a look's has. Only validation images are
    opened, each by the weights that have not been trained on it.

    Raises:
        UserError, DataError: an image has changed or cannot be read; the study is led elsewhere.
    """
    with leading(paths):
        for record in read_records(paths.confirm):
            trial = paths.confirm.trial(record.number)
            wanted = record.state == "complete" and trial.model.is_dir()
            if wanted and not trial.own_sizes_csv.exists():
                _measure(workspace, paths, record, trial, device, progress)


def _measure(
    workspace: Workspace,
    paths: StudyPaths,
    record: TrialRecord,
    trial: TrialPaths,
    device: str,
    progress: Progress,
) -> None:
    from harness.training.device import pick_device  # noqa: PLC0415  # brings torch
    from harness.training.native import NativePredictor  # noqa: PLC0415

    config = read_config(paths)
    weights = Weights(str(record.number), trial, paths.confirm.split_of(record.labels))
    images = Images(
        f"val at their own sizes, confirming trial {record.number}",
        source_folder(find_data(config.data.root, workspace)),
        tuple(row for row in read_split(weights.split_csv) if row.role == "val"),
        config.data,
        config.limits.max_pixels,
    )
    check_unchanged(images)
    network = NativePredictor(trial.model, weights.config, config.data, pick_device(device))
    measure = Measure([network], config.data, tta=False, progress=progress)
    write_scores(trial.own_sizes_csv, measure.scores(images, None))
