"""The methods paragraph: what ran, in sentences with references, ready for a paper's appendix."""

import csv
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness.core.text import count, format_range, is_or_are, join_words
from harness.data.datasets.known_datasets import KVASIR
from harness.data.datasets.pairs import ROLE_NAMES, Role
from harness.data.splits.splits import SplitRow, subset_size
from harness.evaluation.held_out.ledger import read_held_out_ledger
from harness.report.page import references
from harness.report.page.methods_training import (
    inputs_sentence,
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
    """The paragraph, and what it refers to as [1], [2], … in that order."""

    text: str
    references: tuple[str, ...]


def build_methods_paragraph(
    tables: StudyTables, split: Sequence[SplitRow], data_root: Path | None = None
) -> MethodsParagraph | None:
    """What ran and how, from records, configurations, the ledger of test images and the definition.

    Args:
        split: may be empty, where split.csv is missing.
        data_root: where a CSV file of the images is looked for; None: not found.

    Returns:
        None where no trial has trained an epoch.
    """
    trials = load_trained_trials(tables)
    if not trials:
        return None
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
    uses: dict[Role, str] = {
        "train": "training",
        "val": "validation",
        "test": _test_use_text(tables),
    }
    parts = [f"{roles[role]} for {use}" for role, use in uses.items() if roles[role]]
    division_text = split_origin_text(tables, split, data_root)
    roles_text = f" were divided into {join_words(parts)} ({division_text})" if split else ""
    groups = " and declared groups" if config.split.group else ""
    copies_text = f", copies{groups} on one side" if split else ""
    classes = " / ".join(config.data.classes)
    is_kvasir = re.split(r"[/\\]", config.data.root.rstrip("/\\"))[-1] == KVASIR.name
    root = cite(config.data.root, KVASIR.citation if is_kvasir else None)
    text = f"The images of {root} ({config.data.task}: {classes}){roles_text}{copies_text}."
    return " ".join([text, *_subset_sentences(trials, roles["train"])])


def _test_use_text(tables: StudyTables) -> str:
    ledger = read_held_out_ledger(tables.paths)
    n = ledger.count_tests()
    if n:
        times = {1: "once", 2: "twice"}.get(n) or count(n, "time")
        return f"a test, whose images were opened {times}"
    if ledger.damaged_lines:
        return "a test, whose record of openings is damaged"
    return "a test that stayed sealed"


def split_origin_text(
    tables: StudyTables, split: Sequence[SplitRow], data_root: Path | None
) -> str:
    """By whom the roles were given: folds, lists, folders, a column, or the seed."""
    config = tables.config.split
    seed_text = f"seed {config.seed}"
    declared = _declared_roles_text(tables, split, data_root)
    if config.folds is not None:
        test = f"test images {declared}, " if declared else ""
        return (
            f"{test}the others in {config.folds} folds, fold {config.fold} validates; {seed_text}"
        )
    return declared or seed_text


def _declared_roles_text(
    tables: StudyTables, split: Sequence[SplitRow], data_root: Path | None
) -> str:
    """Where roles were declared; "" where the seed divided."""
    lists, root = tables.config.split.lists, tables.config.data.root
    if lists is not None:
        return "by the data's official lists" if lists == "official" else f"by the lists in {lists}"
    folders = {row.row: ROLE_NAMES.get(row.image.split("/")[0]) for row in split}
    if split and all(folders.values()):
        moved = sum(row.role != folders[row.row] for row in split)
        seed_text = f"; {moved} of its training images validate, seed {tables.config.split.seed}"
        origin_text = "by the folders of the data"
        return origin_text + (seed_text if moved and tables.config.split.folds is None else "")
    if root.lower().endswith(".csv") and _has_role_column(Path(root).name, data_root):
        return "by the column role of the data's CSV file"
    return ""


def _has_role_column(name: str, data_root: Path | None) -> bool:
    """Whether a CSV file of images, where it can be read, has a column of roles."""
    if data_root is None:
        return False
    try:
        with (data_root / name).open(encoding="utf-8-sig", newline="") as handle:
            header = next(csv.reader(handle), [])
    except (OSError, ValueError, csv.Error):
        return False
    return "role" in [cell.strip().lower() for cell in header]


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
    name, pruner = config.sampler.name, config.pruner.name
    own_records = [record for record in tables.records if record.imported is None]
    library = cite("Optuna", references.LIBRARIES["optuna"])
    if not own_records:
        return " ".join(_import_sentences(tables))
    if "rows" in tables.space:
        sampling_text = (
            f"{library} ran {count(len(own_records), 'trial')}, the rows of a list in order"
        )
    else:
        sampler = cite(_SAMPLER_NAMES.get(name, name), references.SAMPLERS.get(name))
        sampling_text = (
            f"{library} drew {count(len(own_records), 'trial')} ({sampler} sampler, seed "
            f"{config.seed})"
        )
    keys = join_words(tables.parameters) if tables.parameters else "nothing"
    if any(record.state == "pruned" for record in own_records):
        pruning_text = f"the {cite(pruner, references.PRUNERS.get(pruner))} pruner"
    else:
        pruning_text = (
            "nothing" if pruner == "none" else f"the {pruner} pruner was there, but nothing"
        )
    text = f"{sampling_text}, varying {keys}; {pruning_text} stopped trials early."
    return " ".join([text, *_startup_sentences(tables), *_import_sentences(tables)])


def _startup_sentences(tables: StudyTables) -> list[str]:
    sampler = tables.config.sampler
    if (
        sampler.name not in _RANDOM_STARTUP_SAMPLERS
        or "rows" in tables.space
        or not tables.parameters
    ):
        return []
    n = min(sampler.n_startup_trials, sum(record.imported is None for record in tables.records))
    return [f"The first {count(n, 'trial')} {is_or_are(n)} drawn at random."]


def _import_sentences(tables: StudyTables) -> list[str]:
    origins = [record.imported for record in tables.records if record.imported is not None]
    studies = join_words(dict.fromkeys(origin.rpartition("/")[0] for origin in origins))
    return [f"{count(len(origins), 'trial')} came from {studies}."] if origins else []


_DECISIONS: Final = {
    "binary": "A pixel belongs to the foreground where p ≥ 0.5.",
    "multilabel": "A pixel belongs to each class whose p ≥ 0.5.",
    "multiclass": "A pixel belongs to its most probable class (argmax).",
}


def _objective_sentences(tables: StudyTables) -> str:
    config = tables.config
    size = config.data.eval_size
    return (
        f"A trial's value is {config.objective.metric} on the validation images at {size} × {size} "
        f"pixels, at its best epoch. {_DECISIONS[config.data.task]}"
    )


def _software_sentence(trials: Sequence[TrainedTrial], cite: CitationList) -> str:
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
