"""The verdicts about a space: a table before trial 0, and an answer for each drawn combination."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.errors import ConfigError
from harness.preflight.building import Verdict, judge
from harness.preflight.encoders import Encoders
from harness.preflight.networks import Network, Pretrained, Setting, network_of, pretrained_of
from harness.preflight.reachable import (
    LIMIT,
    Drawn,
    Reachable,
    reachable,
    shaping_config,
    with_row,
)
from harness.preflight.reasons import Reason
from harness.preflight.weights import unfit_weights, weights_reason
from harness.space.schema import Space
from harness.wording import count

MOST_REASONS = 12
MOST_COMPLETIONS = 500  # of a first row that leaves parameters open
Told = Callable[[int, int | None], None]  # (done, total)


@dataclass(frozen=True)
class Entry:
    """One line of the table: a combination, and why it is impossible, or None."""

    drawn: Drawn
    verdict: Verdict
    reason: Reason | None


@dataclass
class Verdicts:
    """Answers about the networks of one space; each network is built at most once per question.

    Nothing is remembered between runs.
    """

    space: Space
    setting: Setting
    known: dict[Network, Verdict] = field(default_factory=dict)
    _weights: dict[Pretrained, Reason | None] = field(default_factory=dict)
    _encoders: Encoders = field(default_factory=Encoders)

    def refusal(self, values: Mapping[str, Any]) -> str | None:
        """Why a drawn combination cannot be trained; None: it can. Builds what is not known."""
        try:
            config = shaping_config(self.space, values)
        except ConfigError as error:
            return "; ".join(error.problems)
        drawn = Drawn(values, config, network_of(config), self.setting.alone(config))
        reason = self.entry(drawn).reason
        return None if reason is None else f"{drawn.network.name}: {reason}"

    def entry(self, drawn: Drawn) -> Entry:
        """The line of the table for a combination."""
        n = 1 if drawn.alone else 2
        verdict = self.known.get(drawn.network)
        if verdict is None or n not in verdict.against:
            verdict = self.learn(drawn.network, {n})
        return Entry(drawn, verdict, verdict.against[n] or self._weights_reason(drawn))

    def learn(self, network: Network, batches: set[int]) -> Verdict:
        """Build a network, try it with batches of these sizes, and remember the answers."""
        verdict = judge(network, self.setting, batches, self._encoders)
        earlier = self.known.get(network)
        if earlier is not None:
            verdict.against.update({**earlier.against, **verdict.against})
        self.known[network] = verdict
        return verdict

    def row_refusal(self, row: Mapping[str, Any]) -> str | None:
        """Why no completion of a row of the space can be trained; None: one can, or may."""
        some = reachable(with_row(self.space, row), self.setting, limit=MOST_COMPLETIONS)
        reasons: list[str] = []
        for drawn in some.drawn:
            reason = self.entry(drawn).reason
            if reason is None:
                return None
            reasons.append(f"{drawn.network.name}: {reason}")
        return reasons[0] if reasons and some.whole else None

    def _weights_reason(self, drawn: Drawn) -> Reason | None:
        wanted = pretrained_of(drawn.config)
        if wanted is None:
            return None
        reason = self.lacks_weights(wanted)
        return reason or unfit_weights(wanted, drawn.network)

    def lacks_weights(self, wanted: Pretrained) -> Reason | None:
        """Why an encoder has no such weights; None: it has, here or to be fetched."""
        if wanted not in self._weights:
            self._weights[wanted] = weights_reason(wanted)
        return self._weights[wanted]


@dataclass(frozen=True)
class Table:
    """Every network of a space, or a sample of them.

    Attributes:
        whole: nothing was left out.
        verdicts: answers about combinations that are not in the table too.
        beyond: the pretrained weights that combinations beyond a sample begin with.
    """

    entries: tuple[Entry, ...]
    whole: bool
    verdicts: Verdicts
    beyond: frozenset[Pretrained] = frozenset()

    @property
    def possible(self) -> list[Entry]:
        return [entry for entry in self.entries if entry.reason is None]

    @property
    def impossible(self) -> list[Entry]:
        return [entry for entry in self.entries if entry.reason is not None]

    @property
    def pretrained(self) -> list[Pretrained]:
        """The pretrained weights that a possible combination begins with.

        Beyond a sample every combination counts as possible, weights that do not exist aside.
        """
        wanted = {pretrained_of(entry.drawn.config) for entry in self.possible} - {None}
        beyond = {one for one in self.beyond if self.verdicts.lacks_weights(one) is None}
        return sorted({one for one in wanted if one is not None} | beyond)

    @property
    def encoders(self) -> list[str]:
        """The encoders of `pretrained`."""
        return sorted({one.encoder_name for one in self.pretrained})

    def reasons(self) -> list[tuple[str, int]]:
        """Each reason and how many combinations it makes impossible, the most frequent first."""
        return Counter(str(entry.reason) for entry in self.impossible).most_common()

    def line(self) -> str:
        """The result in one line."""
        n, n_bad = len(self.entries), len(self.impossible)
        what = f"{n:,} network{'' if n == 1 else 's'}{'' if self.whole else ' drawn from more'}"
        return f"{n_bad:,} of {what} cannot be built" if n_bad else f"{what}: all can be built"


def preflight(
    space: Space,
    setting: Setting,
    *,
    limit: int | None = LIMIT,
    seed: int = 0,
    told: Told | None = None,
) -> Table:
    """Build every network that a space can draw and try it with a batch of the study's.

    Args:
        limit: the most networks; of more a seeded sample. None: all.
        told: called with (done, total).
    """
    found = reachable(space, setting, limit=limit, seed=seed)
    verdicts = Verdicts(space, setting)
    batches: dict[Network, set[int]] = {}
    for drawn in found.drawn:
        batches.setdefault(drawn.network, set()).add(1 if drawn.alone else 2)
    for done, (network, sizes) in enumerate(batches.items()):
        if told is not None:
            told(done, len(batches))
        verdicts.learn(network, sizes)
    if told is not None:
        told(len(batches), len(batches))
    return _table(found, verdicts)


def check_table(table: Table) -> None:
    """What must be changed before trial 0.

    Raises:
        ConfigError: no combination is possible, with the reasons; or rows of the space that no
            possible combination fits.
    """
    if table.entries and not table.possible:
        reasons = [f"  {text} ({n})" for text, n in table.reasons()]
        more = len(reasons) - MOST_REASONS
        raise ConfigError(
            [
                f"no network of this space can be trained ({len(table.entries)} tried):",
                *reasons[:MOST_REASONS],
                *([f"  and {count(more, 'more reason')}"] if more > 0 else []),
            ]
        )
    verdicts = table.verdicts
    space = verdicts.space
    sections = (
        (_placed("row", space.rows, space.places), verdicts.refusal),
        (_placed("enqueue: row", space.enqueue), verdicts.row_refusal),
    )
    problems = [
        f"{place}: {reason}"
        for rows, refusal in sections
        for place, row in rows
        if (reason := refusal(row)) is not None
    ]
    if problems:
        raise ConfigError(problems)


def _placed(
    name: str, rows: Sequence[Mapping[str, Any]], places: Sequence[str] = ()
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each row with the file and line where it stands, or with its number."""
    for i, row in enumerate(rows):
        yield f"{places[i]}: {name} {i + 1}" if places else f"{name} {i + 1}", row


def _table(found: Reachable, verdicts: Verdicts) -> Table:
    entries = tuple(verdicts.entry(drawn) for drawn in found.drawn)
    return Table(entries, found.whole, verdicts, frozenset() if found.whole else found.weighted)
