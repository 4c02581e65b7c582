"""The verdicts about a space: a table before trial 0, and an answer for each drawn combination."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.core.errors import ConfigError
from harness.core.plurals import count
from harness.preflight.build_check import BuildResult, try_build
from harness.preflight.combinations import (
    MAX_NETWORKS,
    ReachableConfigs,
    SampledConfig,
    enumerate_configs,
    fix_row_values,
    network_config,
)
from harness.preflight.encoder_cache import EncoderCache
from harness.preflight.network_key import (
    NetworkKey,
    PreflightSetting,
    PretrainedEncoder,
    network_key_of,
    pretrained_encoder_of,
)
from harness.preflight.refusal_reasons import RefusalReason
from harness.preflight.weight_states import image_size_reason, unavailable_weights_reason
from harness.space.space import SearchSpace

MAX_SHOWN_REASONS = 12
MAX_ROW_COMPLETIONS = 500  # of a first row that leaves parameters open
PreflightCallback = Callable[[int, int | None], None]  # (done, total)


@dataclass(frozen=True)
class NetworkEntry:
    """One line of the table: a combination, and why it is impossible, or None."""

    sampled: SampledConfig
    build_result: BuildResult
    reason: RefusalReason | None


@dataclass
class NetworkChecker:
    """Answers about the networks of one space; each network is built at most once per question.

    Nothing is remembered between runs.
    """

    space: SearchSpace
    setting: PreflightSetting
    results: dict[NetworkKey, BuildResult] = field(default_factory=dict)
    _weights_reasons: dict[PretrainedEncoder, RefusalReason | None] = field(default_factory=dict)
    _encoder_cache: EncoderCache = field(default_factory=EncoderCache)

    def config_refusal(self, values: Mapping[str, Any]) -> str | None:
        """Why a drawn combination cannot be trained; None: it can. Builds what is not known."""
        try:
            config = network_config(self.space, values)
        except ConfigError as error:
            return "; ".join(error.problems)
        sampled = SampledConfig(
            values, config, network_key_of(config), self.setting.has_single_image_batch(config)
        )
        reason = self.check_config(sampled).reason
        return None if reason is None else f"{sampled.network.name}: {reason}"

    def check_config(self, sampled: SampledConfig) -> NetworkEntry:
        """The line of the table for a combination."""
        n = 1 if sampled.has_single_image_batch else 2
        build_result = self.results.get(sampled.network)
        if build_result is None or n not in build_result.refusals:
            build_result = self.build_network_once(sampled.network, {n})
        return NetworkEntry(
            sampled, build_result, build_result.refusals[n] or self._weights_reason(sampled)
        )

    def build_network_once(self, network: NetworkKey, batch_sizes: set[int]) -> BuildResult:
        """Build a network, try it with batches of these sizes, and remember the answers."""
        build_result = try_build(network, self.setting, batch_sizes, self._encoder_cache)
        earlier_result = self.results.get(network)
        if earlier_result is not None:
            build_result.refusals.update({**earlier_result.refusals, **build_result.refusals})
        self.results[network] = build_result
        return build_result

    def row_refusal(self, row: Mapping[str, Any]) -> str | None:
        """Why no completion of a row of the space can be trained; None: one can, or may."""
        completions = enumerate_configs(
            fix_row_values(self.space, row), self.setting, limit=MAX_ROW_COMPLETIONS
        )
        reasons: list[str] = []
        for sampled in completions.configs:
            reason = self.check_config(sampled).reason
            if reason is None:
                return None
            reasons.append(f"{sampled.network.name}: {reason}")
        return reasons[0] if reasons and completions.is_complete else None

    def _weights_reason(self, sampled: SampledConfig) -> RefusalReason | None:
        encoder = pretrained_encoder_of(sampled.config)
        if encoder is None:
            return None
        reason = self.missing_weights_reason(encoder)
        return reason or image_size_reason(encoder, sampled.network)

    def missing_weights_reason(self, encoder: PretrainedEncoder) -> RefusalReason | None:
        """Why an encoder has no such weights; None: it has, here or to be fetched."""
        if encoder not in self._weights_reasons:
            self._weights_reasons[encoder] = unavailable_weights_reason(encoder)
        return self._weights_reasons[encoder]


@dataclass(frozen=True)
class NetworkTable:
    """Every network of a space, or a sample of them.

    Attributes:
        is_complete: nothing was left out.
        checker: answers about combinations that are not in the table too.
        unsampled_encoders: the pretrained weights that combinations beyond a sample begin with.
    """

    entries: tuple[NetworkEntry, ...]
    is_complete: bool
    checker: NetworkChecker
    unsampled_encoders: frozenset[PretrainedEncoder] = frozenset()

    @property
    def possible(self) -> list[NetworkEntry]:
        return [entry for entry in self.entries if entry.reason is None]

    @property
    def impossible(self) -> list[NetworkEntry]:
        return [entry for entry in self.entries if entry.reason is not None]

    @property
    def pretrained_encoders(self) -> list[PretrainedEncoder]:
        """The pretrained weights that a possible combination begins with.

        Beyond a sample every combination counts as possible, weights that do not exist aside.
        """
        sampled_encoders = {
            pretrained_encoder_of(entry.sampled.config) for entry in self.possible
        } - {None}
        unsampled = {
            encoder
            for encoder in self.unsampled_encoders
            if self.checker.missing_weights_reason(encoder) is None
        }
        return sorted({encoder for encoder in sampled_encoders if encoder is not None} | unsampled)

    @property
    def encoder_names(self) -> list[str]:
        """The encoders of `pretrained_encoders`."""
        return sorted({encoder.encoder_name for encoder in self.pretrained_encoders})

    def count_reasons(self) -> list[tuple[str, int]]:
        """Each reason and how many combinations it makes impossible, the most frequent first."""
        return Counter(str(entry.reason) for entry in self.impossible).most_common()

    def summary_line(self) -> str:
        """The result in one line."""
        n, n_bad = len(self.entries), len(self.impossible)
        networks_text = (
            f"{n:,} network{'' if n == 1 else 's'}{'' if self.is_complete else ' drawn from more'}"
        )
        return (
            f"{n_bad:,} of {networks_text} cannot be built"
            if n_bad
            else f"{networks_text}: all can be built"
        )


def build_network_table(
    space: SearchSpace,
    setting: PreflightSetting,
    *,
    limit: int | None = MAX_NETWORKS,
    seed: int = 0,
    on_progress: PreflightCallback | None = None,
) -> NetworkTable:
    """Build every network that a space can draw and try it with a batch of the study's.

    Args:
        limit: the most networks; of more a seeded sample. None: all.
        on_progress: called with (done, total).
    """
    candidates = enumerate_configs(space, setting, limit=limit, seed=seed)
    checker = NetworkChecker(space, setting)
    batch_sizes: dict[NetworkKey, set[int]] = {}
    for sampled in candidates.configs:
        batch_sizes.setdefault(sampled.network, set()).add(
            1 if sampled.has_single_image_batch else 2
        )
    for n_finished, (network, sizes) in enumerate(batch_sizes.items()):
        if on_progress is not None:
            on_progress(n_finished, len(batch_sizes))
        checker.build_network_once(network, sizes)
    if on_progress is not None:
        on_progress(len(batch_sizes), len(batch_sizes))
    return _make_table(candidates, checker)


def check_network_table(table: NetworkTable) -> None:
    """What must be changed before trial 0.

    Raises:
        ConfigError: no combination is possible, with the reasons; or rows of the space that no
            possible combination fits.
    """
    if table.entries and not table.possible:
        reasons = [f"  {text} ({n})" for text, n in table.count_reasons()]
        n_omitted = len(reasons) - MAX_SHOWN_REASONS
        raise ConfigError(
            [
                f"no network of this space can be trained ({len(table.entries)} tried):",
                *reasons[:MAX_SHOWN_REASONS],
                *([f"  and {count(n_omitted, 'more reason')}"] if n_omitted > 0 else []),
            ]
        )
    checker = table.checker
    space = checker.space
    sections = (
        (_labelled_rows("row", space.rows, space.row_locations), checker.config_refusal),
        (_labelled_rows("enqueue: row", space.enqueue), checker.row_refusal),
    )
    problems = [
        f"{row_label}: {reason}"
        for rows, refusal in sections
        for row_label, row in rows
        if (reason := refusal(row)) is not None
    ]
    if problems:
        raise ConfigError(problems)


def _labelled_rows(
    name: str, rows: Sequence[Mapping[str, Any]], places: Sequence[str] = ()
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each row with the file and line where it stands, or with its number."""
    for i, row in enumerate(rows):
        yield f"{places[i]}: {name} {i + 1}" if places else f"{name} {i + 1}", row


def _make_table(candidates: ReachableConfigs, checker: NetworkChecker) -> NetworkTable:
    entries = tuple(checker.check_config(sampled) for sampled in candidates.configs)
    return NetworkTable(
        entries,
        candidates.is_complete,
        checker,
        frozenset() if candidates.is_complete else candidates.pretrained_encoders,
    )
