"""Check the networks of a space: a table before trial 0, and each drawn configuration later."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.core.errors import ConfigError
from harness.core.text import count
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
MAX_ROW_COMPLETIONS = 500  # networks tried for an enqueued row that leaves parameters open
PreflightCallback = Callable[[int, int | None], None]  # (done, total)


@dataclass(frozen=True)
class NetworkTableRow:
    """Row of the table: a configuration, and the reason why it is impossible, or None."""

    sampled: SampledConfig
    build_result: BuildResult
    reason: RefusalReason | None


@dataclass
class NetworkChecker:
    """Checks networks of one space; each is built at most once for each batch size.

    Results are not stored between runs: library versions may change them.
    """

    space: SearchSpace
    setting: PreflightSetting
    results: dict[NetworkKey, BuildResult] = field(default_factory=dict)
    _weights_reasons: dict[PretrainedEncoder, RefusalReason | None] = field(default_factory=dict)
    _encoder_cache: EncoderCache = field(default_factory=EncoderCache)

    def config_refusal(self, values: Mapping[str, Any]) -> str | None:
        """Reason why a drawn configuration cannot be trained, or None. Builds unknown networks."""
        try:
            config = network_config(self.space, values)
        except ConfigError as error:
            return "; ".join(error.problems)
        sampled = SampledConfig(
            values, config, network_key_of(config), self.setting.has_single_image_batch(config)
        )
        reason = self.check_config(sampled).reason
        return None if reason is None else f"{sampled.network.name}: {reason}"

    def check_config(self, sampled: SampledConfig) -> NetworkTableRow:
        """Row of the table for a configuration."""
        # Otherwise two images are enough: BatchNorm over 1x1 features fails for one image only.
        n = 1 if sampled.has_single_image_batch else 2
        build_result = self.results.get(sampled.network)
        if build_result is None or n not in build_result.refusals:
            build_result = self.build_network_once(sampled.network, {n})
        return NetworkTableRow(
            sampled, build_result, build_result.refusals[n] or self._weights_reason(sampled)
        )

    def build_network_once(self, network: NetworkKey, batch_sizes: set[int]) -> BuildResult:
        """Build a network, run it with these batch sizes, and store the results."""
        build_result = try_build(network, self.setting, batch_sizes, self._encoder_cache)
        earlier_result = self.results.get(network)
        if earlier_result is not None:
            build_result.refusals.update({**earlier_result.refusals, **build_result.refusals})
        self.results[network] = build_result
        return build_result

    def row_refusal(self, row: Mapping[str, Any]) -> str | None:
        """Reason why no completion of a row can be trained; None if one can, or may."""
        # An enqueued row may leave parameters open; one trainable completion is enough.
        completions = enumerate_configs(
            fix_row_values(self.space, row), self.setting, limit=MAX_ROW_COMPLETIONS
        )
        reasons: list[str] = []
        for sampled in completions.configs:
            reason = self.check_config(sampled).reason
            if reason is None:
                return None
            reasons.append(f"{sampled.network.name}: {reason}")
        # A sample without a success proves nothing, so that such a row is let through.
        return reasons[0] if reasons and completions.is_complete else None

    def _weights_reason(self, sampled: SampledConfig) -> RefusalReason | None:
        encoder = pretrained_encoder_of(sampled.config)
        if encoder is None:
            return None
        reason = self.missing_weights_reason(encoder)
        return reason or image_size_reason(encoder, sampled.network)

    def missing_weights_reason(self, encoder: PretrainedEncoder) -> RefusalReason | None:
        """Reason why an encoder lacks these weights; None if they are cached or downloadable."""
        if encoder not in self._weights_reasons:
            self._weights_reasons[encoder] = unavailable_weights_reason(encoder)
        return self._weights_reasons[encoder]


@dataclass(frozen=True)
class NetworkTable:
    """Check results for every network of a space, or for a sample.

    Attributes:
        is_complete: True if the table holds every network.
        checker: checks configurations outside the table.
        unsampled_encoders: pretrained weights that configurations outside the sample use.
    """

    entries: tuple[NetworkTableRow, ...]
    is_complete: bool
    checker: NetworkChecker
    unsampled_encoders: frozenset[PretrainedEncoder] = frozenset()

    @property
    def possible(self) -> list[NetworkTableRow]:
        return [entry for entry in self.entries if entry.reason is None]

    @property
    def impossible(self) -> list[NetworkTableRow]:
        return [entry for entry in self.entries if entry.reason is not None]

    @property
    def pretrained_encoders(self) -> list[PretrainedEncoder]:
        """Pretrained weights of the possible configurations, sorted.

        Outside the sample every configuration counts as possible, unless its weights do not exist.
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
        """Sorted names of the encoders in `pretrained_encoders`."""
        return sorted({encoder.encoder_name for encoder in self.pretrained_encoders})

    def count_reasons(self) -> list[tuple[str, int]]:
        """Number of configurations by reason, the most frequent first."""
        return Counter(str(entry.reason) for entry in self.impossible).most_common()

    def summary_line(self) -> str:
        """Summary in one line."""
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
    """Build every network that a space can draw and run it with a batch of the study.

    Args:
        limit: largest number of networks; of a larger one a seeded sample. None: no limit.
        on_progress: called with (done, total).
    """
    candidates = enumerate_configs(space, setting, limit=limit, seed=seed)
    checker = NetworkChecker(space, setting)
    # Grouped by network, so that each is built once although several configurations share it.
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
    """Check that trial 0 can start.

    Raises:
        ConfigError: no configuration is possible, with the reasons; or a row of the space has no
            possible completion.
    """
    if table.entries and not table.possible:
        raise ConfigError(_no_network_problem(table))
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


def _no_network_problem(table: NetworkTable) -> list[str]:
    reasons = [f"  {text} ({n})" for text, n in table.count_reasons()]
    n_omitted = len(reasons) - MAX_SHOWN_REASONS
    return [
        f"no network of this space can be trained ({len(table.entries)} tried):",
        *reasons[:MAX_SHOWN_REASONS],
        *([f"  and {count(n_omitted, 'more reason')}"] if n_omitted > 0 else []),
    ]


def _labelled_rows(
    name: str, rows: Sequence[Mapping[str, Any]], locations: Sequence[str] = ()
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield each row with its file and line, or with its number."""
    for i, row in enumerate(rows):
        yield f"{locations[i]}: {name} {i + 1}" if locations else f"{name} {i + 1}", row


def _make_table(candidates: ReachableConfigs, checker: NetworkChecker) -> NetworkTable:
    entries = tuple(checker.check_config(sampled) for sampled in candidates.configs)
    return NetworkTable(
        entries,
        candidates.is_complete,
        checker,
        frozenset() if candidates.is_complete else candidates.pretrained_encoders,
    )
