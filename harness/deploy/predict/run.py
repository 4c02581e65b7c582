"""Predict files into a folder: `harness predict` and `Study.predict`."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from harness.config.progress import ProgressReporter
from harness.core import files
from harness.core.errors import UserError
from harness.core.paths import expand_user_path
from harness.core.text import count
from harness.deploy.deployment import Deployment
from harness.deploy.predict.inputs import InputFile, list_inputs
from harness.deploy.predict.outputs import ResultWriter
from harness.deploy.predict.record import (
    TABLE_NAME,
    FileRecord,
    PredictionRecord,
    RecordStart,
    open_record,
)
from harness.deploy.predict.rows import as_csv, columns
from harness.deploy.predict.workers import PredictionWorkers
from harness.deploy.predictor import Predictor

_MAX_LISTED = 5


@dataclass(frozen=True)
class PredictionRequest:
    """Files to predict, and what is written.

    Attributes:
        targets: files and folders.
        out: folder of the results.
        probabilities: also write the probabilities, as 16-bit PNG.
        overlays: also draw each mask over its image.
    """

    targets: Sequence[str | Path]
    out: str | Path
    probabilities: bool = False
    overlays: bool = False


@dataclass(frozen=True)
class PredictionSummary:
    """Outcome of a run.

    Attributes:
        n_files: images that were listed.
        n_earlier: those of them that an earlier run had finished.
        failures: reason by name, for each that could not be predicted.
    """

    out: Path
    table: Path
    n_files: int
    n_earlier: int
    failures: dict[str, str]

    @property
    def n_masks(self) -> int:
        """Images that have a mask."""
        return self.n_files - len(self.failures)


def predict_files(
    open_predictor: Callable[[], Predictor],
    request: PredictionRequest,
    progress: ProgressReporter,
) -> PredictionSummary:
    """Predict each file that is not finished yet, and write `predictions.csv`.

    A file that cannot be predicted is reported in one line and does not end the run. No mask and no
    test image of the study is read, except where its file is among the targets.

    Args:
        open_predictor: called when the files are listed: opening weights takes longer.

    Raises:
        UserError: as `list_inputs` and `open_record`; or the disk is full.
        OSError: results cannot be written.
    """
    out = expand_user_path(request.out)
    listing = list_inputs(request.targets, out)
    if listing.ignored:
        progress.stage(_ignored_line(listing.ignored))
    predictor = open_predictor()
    config = predictor.deployment.context.config
    writer = ResultWriter(out, config.data, request.probabilities, request.overlays)
    with open_record(out, _record_start(predictor.deployment)) as record:
        writer.remove_partial_files()
        pending = [file for file in listing.files if not _is_finished(file, record, writer)]
        n_earlier = len(listing.files) - len(pending)
        if n_earlier:
            progress.stage(f"{count(n_earlier, 'file')} already finished in {out}")
        failures = _predict_pending(predictor, writer, pending, record, progress)
    return PredictionSummary(out, out / TABLE_NAME, len(listing.files), n_earlier, failures)


def _predict_pending(
    predictor: Predictor,
    writer: ResultWriter,
    pending: Sequence[InputFile],
    record: PredictionRecord,
    progress: ProgressReporter,
) -> dict[str, str]:
    """Predict files, record each as it is finished, and write the table; failures by name."""
    bar = progress.bar(f"predicting {count(len(pending), 'image')}")
    shown_names = {file.name: file.shown_name for file in pending}
    failures: dict[str, str] = {}
    n_done = 0
    workers = PredictionWorkers(predictor, writer, pending)
    try:
        with closing(workers.run()) as finished:
            for entries in finished:
                record.append(entries)
                failures |= {entry.file: entry.error for entry in entries if entry.error}
                for entry in entries:
                    if entry.error:
                        progress.stage(f"{shown_names[entry.file]}: {entry.error}")
                n_done += len(entries)
                bar(n_done, len(pending))
    except OSError as error:
        if files.find_disk_error(error) is None:
            raise
        raise UserError(
            f"{writer.out}: no space left on this disk; {count(n_done, 'file')} of {len(pending)} "
            "finished; make room, and the same command continues"
        ) from error
    except BaseException:
        # Ctrl-C or a signal: what the threads have finished since is kept.
        record.append(workers.take_finished())
        _write_table(writer, record)
        raise
    _write_table(writer, record)
    return failures


def _write_table(writer: ResultWriter, record: PredictionRecord) -> None:
    rows = [record.files[name].row for name in sorted(record.files)]
    files.write_text(writer.out / TABLE_NAME, as_csv(columns(writer.data), rows))


def _is_finished(file: InputFile, record: PredictionRecord, writer: ResultWriter) -> bool:
    """True if the record has this file with its present content, and its results exist.

    Raises:
        UserError: the results of this name are of another image.
    """
    entry = record.files.get(file.name)
    if entry is None or entry.error is not None:
        return False
    if entry.is_of(file):
        return _has_results(entry, file, writer)
    if Path(entry.source) != file.path.absolute():
        raise UserError(
            f"--out {writer.out}: {file.shown_name} there is the result of {entry.source}, not of "
            f"{file.path}; choose another folder"
        )
    return False


def _has_results(entry: FileRecord, file: InputFile, writer: ResultWriter) -> bool:
    missing_kinds = writer.probabilities > entry.probabilities or writer.overlays > entry.overlays
    paths = writer.paths(file.stem, geo=entry.geo)
    return not missing_kinds and all(path.exists() for path in paths)


def _record_start(deployment: Deployment) -> RecordStart:
    config = deployment.context.config
    return RecordStart(
        study=deployment.context.paths.name,
        study_id=str(config.id),
        weights={member.label: member.sha256 for member in deployment.weights},
        tta=deployment.tta,
        rule=deployment.rule.rule.model_dump_json(),
    )


def _ignored_line(ignored: Sequence[str]) -> str:
    names = [name if name.isprintable() else ascii(name) for name in ignored[:_MAX_LISTED]]
    more = f" and {len(ignored) - _MAX_LISTED} more" if len(ignored) > _MAX_LISTED else ""
    return f"{count(len(ignored), 'file')} ignored, no images: {', '.join(names)}{more}"
