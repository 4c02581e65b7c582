"""Methods paragraph of a report: the experiment in sentences with references, for a paper.

Every sentence is derived from records, configurations and the definition of the study, so that the
text describes the trials that ran and not the options that exist.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness.core.records import TrialRecord
from harness.core.text import count, format_range, join_words, plural, was_or_were
from harness.data.datasets.pairs import Role
from harness.data.datasets.sources import find_archive
from harness.data.splits.split_origin import split_origin_text
from harness.data.splits.splits import SplitRow, subset_size
from harness.evaluation.held_out.ledger import read_held_out_ledger
from harness.report.page import references
from harness.report.page.methods_images import inputs_sentence
from harness.report.page.methods_training import (
    loss_sentences,
    networks_sentences,
    training_sentences,
)
from harness.report.page.references import CitationList
from harness.report.page.trained_trials import TrainedTrial, load_trained_trials
from harness.report.tables.study_tables import StudyTables

_SAMPLER_NAMES = {"tpe": "TPE", "qmc": "quasi-Monte Carlo", "gp": "Gaussian process"}
_RANDOM_STARTUP_SAMPLERS = ("tpe", "gp")


@dataclass(frozen=True)
class MethodsParagraph:
    """Text of the paragraph, and its references in the order of their numbers [1], [2], …"""

    text: str
    references: tuple[str, ...]


def build_methods_paragraph(
    tables: StudyTables, split: Sequence[SplitRow], data_root: Path | None = None
) -> MethodsParagraph | None:
    """Describe data, networks, training, search and software of a study.

    Args:
        split: rows of split.csv; empty if the file is missing.
        data_root: folder of the data, in which a CSV file of images is looked up; None if it is not
            on this machine.

    Returns:
        None if no trial has trained an epoch.
    """
    trials = load_trained_trials(tables)
    if not trials:
        return None
    # References are numbered as they are cited, so the calls are in the order of the sentences.
    cite = CitationList()
    sentences = [
        _data_sentences(tables, split, trials, data_root, cite),
        networks_sentences(trials, cite),
        inputs_sentence(trials, cite),
        training_sentences(trials, cite),
        loss_sentences(trials, cite),
        _search_sentences(tables, cite),
        _objective_sentences(tables),
        _software_sentence(trials, cite),
    ]
    return MethodsParagraph(
        " ".join(sentence for sentence in sentences if sentence), tuple(cite.references)
    )


def _data_sentences(
    tables: StudyTables,
    split: Sequence[SplitRow],
    trials: Sequence[TrainedTrial],
    data_root: Path | None,
    cite: CitationList,
) -> str:
    config = tables.config
    roles = Counter(row.role for row in split)
    split_text = ""
    if parts := _role_counts_text(roles):
        origin_text = split_origin_text(config, split, data_root)
        split_text = f" were split into {parts} ({origin_text})"
    groups = " and declared groups" if config.split.group else ""
    groups_text = f"; duplicates{groups} are in the same part" if split else ""
    classes = " / ".join(config.data.classes)
    archive = find_archive(config.data.root)
    root = cite(config.data.root, archive.citation if archive else None)
    text = f"The images of {root} ({config.data.task}: {classes}){split_text}{groups_text}."
    test_sentences = [_test_use_sentence(tables)] if roles["test"] else []
    return " ".join([text, *test_sentences, *_subset_sentences(trials, roles["train"])])


def _role_counts_text(roles: Counter[Role]) -> str:
    """Number of images of each role, `88 training and 12 validation images`; "" without roles."""
    names: dict[Role, str] = {"train": "training", "val": "validation", "test": "test"}
    used = [role for role in names if roles[role]]
    if not used:
        return ""
    parts = join_words(f"{roles[role]} {names[role]}" for role in used)
    return f"{parts} {plural('image', roles[used[-1]])}"


def _test_use_sentence(tables: StudyTables) -> str:
    ledger = read_held_out_ledger(tables.paths)
    n = ledger.count_tests()
    if n:
        times = {1: "once", 2: "twice"}.get(n) or count(n, "time")
        return f"The test images were opened {times}."
    if ledger.damaged_lines:
        return "The record of openings of the test images is damaged."
    return "The test images were never opened."


def _subset_sentences(trials: Sequence[TrainedTrial], n_train: int) -> list[str]:
    shares = [share for trial in trials if (share := trial["data.subset"]) is not None]
    if not n_train or all(share == 1 for share in shares):
        return []
    sizes = [subset_size(n_train, share) for share in shares]
    return [
        f"Each trial used {format_range(sizes)} of the training images (data.subset "
        f"{format_range(shares)})."
    ]


def _search_sentences(tables: StudyTables, cite: CitationList) -> str:
    config = tables.config
    name = config.sampler.name
    own_records = [record for record in tables.records if record.imported is None]
    library = cite("Optuna", references.LIBRARIES["optuna"])
    if not own_records:
        return " ".join(_import_sentences(tables))
    # The rows of a CSV space are trained in order, whatever sampler study.yaml names.
    if "rows" in tables.space:
        sampling_text = (
            f"{library} ran {count(len(own_records), 'trial')}, the rows of a list in order"
        )
    else:
        sampler = cite(_SAMPLER_NAMES.get(name, name), references.SAMPLERS.get(name))
        sampling_text = (
            f"{library} sampled {count(len(own_records), 'trial')} ({sampler} sampler, seed "
            f"{config.seed})"
        )
    keys = join_words(tables.parameters) if tables.parameters else "nothing"
    text = f"{sampling_text}, varying {keys}; {_pruning_text(tables, own_records, cite)}."
    return " ".join([text, *_startup_sentences(tables), *_import_sentences(tables)])


def _pruning_text(
    tables: StudyTables, own_records: Sequence[TrialRecord], cite: CitationList
) -> str:
    """The pruner and the number of trials that it stopped; cited only if it stopped any."""
    name = tables.config.pruner.name
    if name == "none":
        return "no pruner was used"
    n_pruned = sum(record.state == "pruned" for record in own_records)
    if not n_pruned:
        return f"the {name} pruner stopped no trial early"
    pruner = cite(name, references.PRUNERS.get(name))
    return f"the {pruner} pruner stopped {n_pruned} of {count(len(own_records), 'trial')} early"


def _startup_sentences(tables: StudyTables) -> list[str]:
    sampler = tables.config.sampler
    if "rows" in tables.space or not tables.parameters:
        return []
    n_own = sum(record.imported is None for record in tables.records)
    n_given = min(len(tables.space.get("enqueue") or ()), n_own)
    sentences = []
    if n_given:
        sentences.append(f"The {_successive('first', n_given)} had values given by the space.")
    if sampler.name in _RANDOM_STARTUP_SAMPLERS:
        # Optuna's samplers count imported trials as well; with enough of them, none is random. TPE
        # counts complete and pruned trials, GP only complete ones (Optuna 5.0).
        counted = ("complete", "pruned") if sampler.name == "tpe" else ("complete",)
        n_imported = sum(
            record.imported is not None and record.state in counted for record in tables.records
        )
        n_random = min(sampler.n_startup_trials - n_imported, n_own) - n_given
        if n_random > 0:
            trials = _successive("next" if n_given else "first", n_random)
            sentences.append(f"The {trials} {was_or_were(n_random)} sampled at random.")
    return sentences


def _successive(position: str, n: int) -> str:
    """`first trial`, `first 3 trials`."""
    return f"{position} trial" if n == 1 else f"{position} {count(n, 'trial')}"


def _import_sentences(tables: StudyTables) -> list[str]:
    origins = [record.imported for record in tables.records if record.imported is not None]
    studies = join_words(dict.fromkeys(origin.rpartition("/")[0] for origin in origins))
    n = len(origins)
    return [f"{count(n, 'trial')} {was_or_were(n)} imported from {studies}."] if n else []


_DECISIONS: Final = {
    "binary": "A pixel belongs to the foreground where p ≥ 0.5.",
    "multilabel": "A pixel belongs to each class whose p ≥ 0.5.",
    "multiclass": "A pixel belongs to its most probable class (argmax).",
}


def _objective_sentences(tables: StudyTables) -> str:
    config = tables.config
    return (
        f"A trial's value is {config.objective.metric} on the validation images at "
        f"{config.data.metrics_size_text}, at its best epoch. {_DECISIONS[config.data.task]}"
    )


def _software_sentence(trials: Sequence[TrainedTrial], cite: CitationList) -> str:
    # Of all trials: a study that was continued after an upgrade ran with both versions.
    versions: dict[str, dict[str, None]] = {}
    for trial in trials:
        for name, version in trial.record.versions.items():
            versions.setdefault(name, {})[version] = None
    citations = [
        cite(f"{name} {' and '.join(library_versions)}", references.LIBRARIES.get(name))
        for name, library_versions in versions.items()
    ]
    devices = join_words(
        dict.fromkeys(trial.record.device for trial in trials if trial.record.device)
    )
    devices_text = f" on {devices}" if devices else ""
    return f"Software: {', '.join(citations)}{devices_text}." if citations else ""
