"""Check of a study before training: every problem that `harness run` would meet, in one report."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from harness.config.progress import ProgressReporter
from harness.core.errors import UserError
from harness.core.text import count
from harness.data.datasets.sources import open_dataset, open_source, source_folder
from harness.data.scan.scan import check_not_empty, duplicates_among, scan_dataset
from harness.data.scan.scan_cache import SCAN_CACHE_FOLDER
from harness.data.splits.splits import make_split, read_split, verify_split
from harness.inspection.report import InspectionReport, inspect_dataset, with_ceilings
from harness.models.weights import check_weights_reachable
from harness.preflight.network_table import NetworkTable, NetworkTableRow, check_network_table
from harness.preflight.weight_states import EncoderWeights, list_encoder_weights
from harness.search.definition.augment_checks import check_augments
from harness.search.definition.ceilings import measure_split_ceilings
from harness.search.definition.component_checks import check_losses, delayed_bar
from harness.search.definition.context import StudyContext, open_context
from harness.search.definition.data_setup import too_few_images_warning
from harness.search.definition.network_checks import check_networks, pretrained_models
from harness.search.definition.options import RunOptions
from harness.search.definition.study_options import locate_checked_study


@dataclass(frozen=True)
class CheckReport:
    """Result of `harness check`.

    Attributes:
        name: name of the study, or of the space file.
        table: every network of the space, or a random sample where there are very many.
        weights: pretrained weights of every encoder in a possible network.
        data: inspection of the data; None if it was not scanned.
        notes: what was not checked, and warnings.
        problems: one line for each reason why `harness run` would refuse the study.
        source: folder or file of the data; None if it was not scanned.
    """

    name: str
    table: NetworkTable
    weights: tuple[EncoderWeights, ...]
    data: InspectionReport | None
    notes: tuple[str, ...]
    problems: tuple[str, ...]
    source: str | None = None

    @property
    def good(self) -> bool:
        """True if `harness run` would start the study."""
        return not self.problems

    def as_json(self) -> dict[str, Any]:
        """The report as plain values for `json.dumps`."""
        return {
            "format": 1,
            "name": self.name,
            "good": self.good,
            "problems": list(self.problems),
            "notes": list(self.notes),
            "whole": self.table.is_complete,
            "networks": [_network_as_json(entry) for entry in self.table.entries],
            "weights": [asdict(encoder_weights) for encoder_weights in self.weights],
            "data": None if self.data is None else self.data.as_json(),
        }


def check_study(options: RunOptions, progress: ProgressReporter) -> CheckReport:
    """Check the space, every network in it, its weights, losses, augmentation, and the data.

    Nothing is downloaded, and nothing is written except caches and the images of `synthetic`.

    Raises:
        ConfigError: the space or the settings cannot be read; the message has every mistake.
    """
    name, paths = locate_checked_study(options)
    context = open_context(options, paths, progress)
    definition = context.definition
    collector = _ProblemCollector([], [])
    collector.run(lambda: check_losses(definition))
    collector.run(lambda: check_augments(definition, context.workspace, paths))
    # Data before networks: the number of training images decides whether an epoch ends in a
    # batch of one image, which BatchNorm refuses in some decoders.
    data, n_train = _check_data(context, collector, progress)
    table = check_networks(definition, n_train, delayed_bar(progress))
    collector.run(lambda: check_network_table(table))
    collector.run(lambda: check_weights_reachable(pretrained_models(table)))
    if not table.is_complete:
        collector.notes.append(
            f"the space has too many networks; a random sample of {len(table.entries)} was checked"
        )
    return CheckReport(
        name,
        table,
        tuple(list_encoder_weights(table.pretrained_encoders)),
        data,
        tuple(collector.notes),
        tuple(collector.problems),
        None if data is None else str(context.source),
    )


@dataclass
class _ProblemCollector:
    """Problems and notes of several checks, so that one mistake does not hide the next."""

    problems: list[str]
    notes: list[str]

    def run(self, action: Callable[[], Any]) -> Any:
        """Result of a check; None if it raised UserError, whose lines are collected."""
        try:
            return action()
        except UserError as error:
            self.problems += str(error).splitlines()
            return None


def _check_data(
    context: StudyContext, collector: _ProblemCollector, progress: ProgressReporter
) -> tuple[InspectionReport | None, int | None]:
    """Inspection of the data, and number of training images; None where they are not known."""
    search, paths, config = context.options.search, context.paths, context.config
    is_required = search.data is not None or paths.study_yaml.exists()
    try:
        source = context.source
    except UserError as error:
        if is_required:
            collector.problems += str(error).splitlines()
        else:
            collector.notes.append("no data set was given or found, so only the space was checked")
        return None, None
    dataset = collector.run(
        lambda: open_dataset(source, config.data, max_pixels=config.limits.max_pixels)
    )
    if dataset is None:
        return None, None
    on_progress = progress.bar(f"reading {count(len(dataset.pairs), 'pair')} of {source}")
    overview = scan_dataset(dataset, on_progress, context.workspace.cache / SCAN_CACHE_FOLDER)
    copies = duplicates_among(overview.pair_stats)
    inspection = inspect_dataset(overview, copies, skip_bad=search.skip_bad, declared=True)
    bad = [finding for finding in inspection.findings if finding.severity == "error"]
    collector.problems += [f"data: {finding.what}; {finding.remedy}" for finding in bad]

    # Not load_or_make_split: that raises for bad pairs, which are among the problems already.
    def make_or_read_split() -> list[Any]:
        if not context.definition.is_started:
            return make_split(overview.dataset, overview.pair_stats, config.split, copies)
        rows = read_split(paths.split_csv)
        verify_split(rows, open_source(context.data_root))
        return rows

    if search.skip_bad:  # otherwise each bad pair is among the errors above
        collector.run(lambda: check_not_empty(overview))
    rows = collector.run(make_or_read_split) if overview.pair_stats else None
    if (
        rows is not None
        and (note := too_few_images_warning(rows, overview.pair_stats, config)) is not None
    ):
        collector.notes.append(note)
    if rows is None:
        return inspection, None
    ceilings = collector.run(
        lambda: measure_split_ceilings(context.definition, rows, source_folder(source))
    )
    if ceilings is not None:
        inspection = with_ceilings(inspection, ceilings)
    return inspection, sum(row.role == "train" for row in rows)


def _network_as_json(entry: NetworkTableRow) -> dict[str, Any]:
    network, reason = entry.sampled.network, entry.reason
    return {
        **network.model.model_dump(mode="json", exclude={"encoder_weights"}),
        "encoder_weights": entry.sampled.config.model.encoder_weights,
        "image_size": list(network.height_width),
        "batch_of_one": entry.sampled.has_single_image_batch,
        "possible": reason is None,
        "kind": None if reason is None else reason.kind,
        "reason": None if reason is None else reason.text,
        "parameters": entry.build_result.n_parameters,
        "gflops": entry.build_result.gflops,
    }
