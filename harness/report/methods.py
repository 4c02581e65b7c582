"""The methods paragraph: what ran, in sentences with references, ready for a paper's appendix."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from harness.config import LOSS_PARTS
from harness.data.pairs import Role
from harness.data.splits import SplitRow
from harness.records import TrialRecord
from harness.report import references
from harness.report.tables import StudyTables, trial_settings
from harness.report.wording import among, count, span

_FITS = {"stretch": "stretched", "pad": "scaled and padded"}
_OPTIMISERS = {"adamw": "AdamW", "adam": "Adam", "sgd": "SGD"}
_LOSSES = {"bce": "binary cross-entropy", "ce": "cross-entropy"}
_SAMPLERS = {"tpe": "TPE", "qmc": "quasi-Monte Carlo", "gp": "Gaussian process"}


@dataclass(frozen=True)
class Methods:
    """The paragraph, and what it refers to as [1], [2], … in that order."""

    text: str
    references: tuple[str, ...]


@dataclass
class _Cited:
    """References in the order in which they are first named."""

    found: list[str] = field(default_factory=list)

    def __call__(self, text: str, reference: str | None) -> str:
        if reference is None:
            return text
        if reference not in self.found:
            self.found.append(reference)
        return f"{text} [{self.found.index(reference) + 1}]"

    def each(self, names: Iterable[str], of: dict[str, str]) -> str:
        return among([self(name, of.get(name)) for name in names])


@dataclass(frozen=True)
class _Ran:
    """The settings of the trials that trained at least one epoch."""

    records: Sequence[TrialRecord]
    base: dict[str, Any]

    def values(self, key: str) -> list[Any]:
        """The different values of a setting, in order of trial; what no trial varied, once."""
        given = [record.params.get(key, self.base.get(key)) for record in self.records]
        return [value for i, value in enumerate(given) if value not in given[:i]]

    def texts(self, key: str) -> list[str]:
        return [str(value) for value in self.values(key) if value is not None]


def methods(tables: StudyTables, split: Sequence[SplitRow]) -> Methods | None:
    """What ran and how, from records, one whole configuration and the definition.

    Args:
        split: may be empty, where split.csv is missing.

    Returns:
        None where no trial has trained an epoch.
    """
    trained = {int(n) for n in tables.epochs["number"].unique()}
    records = [record for record in tables.records if record.number in trained]
    if not records:
        return None
    base: dict[str, Any] = {}
    for record in records:
        base = trial_settings(tables, record)
        if base:
            break
    ran, cite = _Ran(records, base), _Cited()
    sentences = [
        _data(tables, split),
        _networks(ran, cite),
        _inputs(ran, cite),
        _training(ran, cite),
        _loss(ran, cite),
        _search(tables, cite),
        _measure(tables),
        _software(ran, cite),
    ]
    return Methods(" ".join(sentence for sentence in sentences if sentence), tuple(cite.found))


def _data(tables: StudyTables, split: Sequence[SplitRow]) -> str:
    config = tables.config
    roles = Counter(row.role for row in split)
    parts = [f"{roles[role]} for {use}" for role, use in _USES.items() if roles[role]]
    divided = f" were divided into {among(parts)} (seed {config.split.seed})" if split else ""
    kept = ", copies and declared groups on one side" if split else ""
    classes = " / ".join(config.data.classes)
    return f"The images of {config.data.root} ({config.data.task}: {classes}){divided}{kept}."


_USES: Final[dict[Role, str]] = {
    "train": "training",
    "val": "validation",
    "test": "a test that stayed sealed",
}


def _networks(ran: _Ran, cite: _Cited) -> str:
    archs = cite.each(ran.texts("model.arch"), dict(references.ARCHITECTURES))
    encoders = ran.texts("model.encoder_name")
    named = among([cite(name, references.of_encoder(name)) for name in encoders])
    depth = span(ran.values("model.encoder_depth"))
    stages = f", {depth} stages deep" if depth else ""
    weights = ran.values("model.encoder_weights")
    origins = [
        cite("ImageNet weights", references.IMAGENET) if w else "random weights" for w in weights
    ]
    start = f", beginning with {among(origins)}" if ran.base else ""
    with_encoder = f" with the encoders {named}{stages}{start}" if encoders else ""
    return f"Trained were {archs}{with_encoder}."


def _inputs(ran: _Ran, cite: _Cited) -> str:
    sizes = ran.values("data.image_size")
    if not ran.base:
        return ""
    shown = among([f"{s} × {s}" if isinstance(s, int) else " × ".join(map(str, s)) for s in sizes])
    fits = among([_FITS.get(fit, fit) for fit in ran.texts("data.fit")])
    augments = ran.texts("data.augment")
    normal = among(ran.texts("data.normalize"))
    text = f"Images were {fits} to {shown} pixels, normalised ({normal})"
    if augments == ["none"]:
        return f"{text}, and not augmented."
    by = cite("albumentations", references.LIBRARIES["albumentations"])
    return f"{text} and augmented with {by} ({among(augments)})."


def _training(ran: _Ran, cite: _Cited) -> str:
    if not ran.base:
        return ""
    names = [
        cite(_OPTIMISERS.get(n, n), references.OPTIMISERS.get(n)) for n in ran.texts("optim.name")
    ]
    schedules = cite.each(ran.texts("optim.schedule"), dict(references.SCHEDULES))
    precision = among(dict.fromkeys(r.precision for r in ran.records if r.precision))
    return (
        f"{among(names)} trained for {span([record.epochs for record in ran.records])} epochs at "
        f"batch size {span(ran.values('train.batch_size'))}, learning rate "
        f"{span(ran.values('optim.lr'))} ({schedules}), weight decay "
        f"{span(ran.values('optim.weight_decay'))}" + (f", in {precision}." if precision else ".")
    )


def _loss(ran: _Ran, cite: _Cited) -> str:
    keys = dict.fromkeys([*(f"loss.{name}" for name in LOSS_PARTS), *_other_losses(ran)])
    names = [key.removeprefix("loss.") for key in keys if any(_weights(ran, key))]
    if not names:
        return ""
    shown = among([cite(_LOSSES.get(n, n), references.LOSSES.get(n)) for n in names])
    ranges = ", ".join(f"{name} {span(_weights(ran, f'loss.{name}'))}" for name in names)
    many = f" (weights, divided by their sum: {ranges})" if len(names) > 1 else ""
    return f"The loss was {shown}{many}."


def _weights(ran: _Ran, key: str) -> list[float]:
    return [v for v in ran.values(key) if isinstance(v, int | float) and not isinstance(v, bool)]


def _other_losses(ran: _Ran) -> list[str]:
    """Weights of losses of the user's own that were searched."""
    keys = dict.fromkeys(key for record in ran.records for key in record.params)
    ours = tuple(f"loss.{name}_" for name in ("focal", "tversky", "label", "class"))
    return [key for key in keys if key.startswith("loss.") and not key.startswith(ours)]


def _search(tables: StudyTables, cite: _Cited) -> str:
    config = tables.config
    sampler, pruner = config.sampler.name, config.pruner.name
    own = [record for record in tables.records if record.imported is None]
    by = cite("Optuna", references.LIBRARIES["optuna"])
    drawn = cite(_SAMPLERS.get(sampler, sampler), references.SAMPLERS.get(sampler))
    stopped = f"the {cite(pruner, references.PRUNERS.get(pruner))} pruner"
    keys = among(tables.parameters) if tables.parameters else "nothing"
    return (
        f"{by} drew {count(len(own), 'trial')} ({drawn} sampler, seed {config.seed}), varying "
        f"{keys}; {'nothing' if pruner == 'none' else stopped} stopped trials early."
    )


def _measure(tables: StudyTables) -> str:
    config = tables.config
    size = config.data.eval_size
    return (
        f"A trial's value is {config.objective.metric} on the validation images at {size} × {size} "
        "pixels, at its best epoch."
    )


def _software(ran: _Ran, cite: _Cited) -> str:
    versions: dict[str, dict[str, None]] = {}
    for record in ran.records:
        for name, version in record.versions.items():
            versions.setdefault(name, {})[version] = None
    named = [
        cite(f"{name} {' and '.join(found)}", references.LIBRARIES.get(name))
        for name, found in versions.items()
    ]
    devices = among(dict.fromkeys(record.device for record in ran.records if record.device))
    on = f" on {devices}" if devices else ""
    return f"Software: {', '.join(named)}{on}." if named else ""
