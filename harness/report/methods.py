"""The methods paragraph: what ran, in sentences with references, ready for a paper's appendix."""

import csv
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness.data.known import KVASIR
from harness.data.pairs import ROLE_NAMES, Role
from harness.data.splits import SplitRow, subset_size
from harness.evaluation.sealed_ledger import read_ledger
from harness.report import references
from harness.report.citations import Cited
from harness.report.methods_training import inputs, loss, networks, training
from harness.report.settings_used import Used, used_settings
from harness.report.tables import StudyTables
from harness.report.wording import among, be, count, span

_SAMPLERS = {"tpe": "TPE", "qmc": "quasi-Monte Carlo", "gp": "Gaussian process"}
_STARTS_AT_RANDOM = ("tpe", "gp")


@dataclass(frozen=True)
class Methods:
    """The paragraph, and what it refers to as [1], [2], … in that order."""

    text: str
    references: tuple[str, ...]


def methods(
    tables: StudyTables, split: Sequence[SplitRow], data_root: Path | None = None
) -> Methods | None:
    """What ran and how, from records, configurations, the ledger of test images and the definition.

    Args:
        split: may be empty, where split.csv is missing.
        data_root: where a CSV file of the images is looked for; None: not found.

    Returns:
        None where no trial has trained an epoch.
    """
    used = used_settings(tables)
    if not used:
        return None
    cite = Cited()
    sentences = [
        _data(tables, split, used, data_root, cite),
        networks(used, cite),
        inputs(used, cite),
        training(used, cite),
        loss(used, cite),
        _search(tables, cite),
        _measure(tables),
        _software(used, cite),
    ]
    return Methods(" ".join(sentence for sentence in sentences if sentence), tuple(cite.found))


def _data(
    tables: StudyTables,
    split: Sequence[SplitRow],
    used: Sequence[Used],
    data_root: Path | None,
    cite: Cited,
) -> str:
    config = tables.config
    roles = Counter(row.role for row in split)
    uses: dict[Role, str] = {"train": "training", "val": "validation", "test": _of_test(tables)}
    parts = [f"{roles[role]} for {use}" for role, use in uses.items() if roles[role]]
    how = division(tables, split, data_root)
    divided = f" were divided into {among(parts)} ({how})" if split else ""
    groups = " and declared groups" if config.split.group else ""
    kept = f", copies{groups} on one side" if split else ""
    classes = " / ".join(config.data.classes)
    known = re.split(r"[/\\]", config.data.root.rstrip("/\\"))[-1] == KVASIR.name
    root = cite(config.data.root, KVASIR.citation if known else None)
    text = f"The images of {root} ({config.data.task}: {classes}){divided}{kept}."
    return " ".join([text, *_subset(used, roles["train"])])


def _of_test(tables: StudyTables) -> str:
    ledger = read_ledger(tables.paths)
    n = ledger.n_looks()
    if n:
        times = {1: "once", 2: "twice"}.get(n) or count(n, "time")
        return f"a test, whose images were opened {times}"
    if ledger.damaged:
        return "a test, whose record of openings is damaged"
    return "a test that stayed sealed"


def division(tables: StudyTables, split: Sequence[SplitRow], data_root: Path | None) -> str:
    """By whom the roles were given: folds, lists, folders, a column, or the seed."""
    config = tables.config.split
    seeded = f"seed {config.seed}"
    declared = _declared(tables, split, data_root)
    if config.folds is not None:
        test = f"test images {declared}, " if declared else ""
        return f"{test}the others in {config.folds} folds, fold {config.fold} validates; {seeded}"
    return declared or seeded


def _declared(tables: StudyTables, split: Sequence[SplitRow], data_root: Path | None) -> str:
    """Where roles were declared; "" where the seed divided."""
    lists, root = tables.config.split.lists, tables.config.data.root
    if lists is not None:
        return "by the data's official lists" if lists == "official" else f"by the lists in {lists}"
    folders = {row.row: ROLE_NAMES.get(row.image.split("/")[0]) for row in split}
    if split and all(folders.values()):
        moved = sum(row.role != folders[row.row] for row in split)
        seeded = f"; {moved} of its training images validate, seed {tables.config.split.seed}"
        own = "by the folders of the data"
        return own + (seeded if moved and tables.config.split.folds is None else "")
    if root.lower().endswith(".csv") and _has_roles(Path(root).name, data_root):
        return "by the column role of the data's CSV file"
    return ""


def _has_roles(name: str, data_root: Path | None) -> bool:
    """Whether a CSV file of images, where it can be read, has a column of roles."""
    if data_root is None:
        return False
    try:
        with (data_root / name).open(encoding="utf-8-sig", newline="") as handle:
            header = next(csv.reader(handle), [])
    except (OSError, ValueError, csv.Error):
        return False
    return "role" in [cell.strip().lower() for cell in header]


def _subset(used: Sequence[Used], n_train: int) -> list[str]:
    shares = [share for one in used if (share := one["data.subset"]) is not None]
    if not n_train or all(share == 1 for share in shares):
        return []
    sizes = [subset_size(n_train, share) for share in shares]
    return [f"Each trial used {span(sizes)} of the training images (data.subset {span(shares)})."]


def _search(tables: StudyTables, cite: Cited) -> str:
    config = tables.config
    name, pruner = config.sampler.name, config.pruner.name
    own = [record for record in tables.records if record.imported is None]
    by = cite("Optuna", references.LIBRARIES["optuna"])
    if not own:
        return " ".join(_imported(tables))
    if "rows" in tables.space:
        drawn = f"{by} ran {count(len(own), 'trial')}, the rows of a list in order"
    else:
        sampler = cite(_SAMPLERS.get(name, name), references.SAMPLERS.get(name))
        drawn = f"{by} drew {count(len(own), 'trial')} ({sampler} sampler, seed {config.seed})"
    keys = among(tables.parameters) if tables.parameters else "nothing"
    if any(record.state == "pruned" for record in own):
        stopped = f"the {cite(pruner, references.PRUNERS.get(pruner))} pruner"
    else:
        stopped = "nothing" if pruner == "none" else f"the {pruner} pruner was there, but nothing"
    text = f"{drawn}, varying {keys}; {stopped} stopped trials early."
    return " ".join([text, *_start(tables), *_imported(tables)])


def _start(tables: StudyTables) -> list[str]:
    sampler = tables.config.sampler
    if sampler.name not in _STARTS_AT_RANDOM or "rows" in tables.space or not tables.parameters:
        return []
    n = min(sampler.n_startup_trials, sum(record.imported is None for record in tables.records))
    return [f"The first {count(n, 'trial')} {be(n)} drawn at random."]


def _imported(tables: StudyTables) -> list[str]:
    origins = [record.imported for record in tables.records if record.imported is not None]
    studies = among(dict.fromkeys(origin.rpartition("/")[0] for origin in origins))
    return [f"{count(len(origins), 'trial')} came from {studies}."] if origins else []


_DECISIONS: Final = {
    "binary": "A pixel belongs to the foreground where p ≥ 0.5.",
    "multilabel": "A pixel belongs to each class whose p ≥ 0.5.",
    "multiclass": "A pixel belongs to its most probable class (argmax).",
}


def _measure(tables: StudyTables) -> str:
    config = tables.config
    size = config.data.eval_size
    return (
        f"A trial's value is {config.objective.metric} on the validation images at {size} × {size} "
        f"pixels, at its best epoch. {_DECISIONS[config.data.task]}"
    )


def _software(used: Sequence[Used], cite: Cited) -> str:
    versions: dict[str, dict[str, None]] = {}
    for one in used:
        for name, version in one.record.versions.items():
            versions.setdefault(name, {})[version] = None
    named = [
        cite(f"{name} {' and '.join(found)}", references.LIBRARIES.get(name))
        for name, found in versions.items()
    ]
    devices = among(dict.fromkeys(one.record.device for one in used if one.record.device))
    on = f" on {devices}" if devices else ""
    return f"Software: {', '.join(named)}{on}." if named else ""
