"""Records behind a model card, read once: trials, split, confirmation and test runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.config.study import StudyConfig, TrialConfig
from harness.core.errors import DataError
from harness.core.paths import StudyPaths
from harness.core.records import TrialRecord, read_record, read_records
from harness.data.splits.split_file import SplitRow, read_split
from harness.deploy.deployment import Deployment
from harness.evaluation.confirm.load_confirmation import load_confirmation
from harness.evaluation.confirm.results import Confirmation
from harness.evaluation.held_out.ledger import HeldOutLedger, HeldOutTest, read_held_out_ledger
from harness.evaluation.held_out.weights import TrialWeights
from harness.training.metrics.image_scores import ImageScores, read_scores


@dataclass(frozen=True)
class NetworkFacts:
    """One network of a deployment: its training, and its scores on validation images.

    Attributes:
        scores: at `eval_size`; None if `scores.csv` is missing.
    """

    weights: TrialWeights
    config: TrialConfig
    record: TrialRecord
    sha256: str
    split: tuple[SplitRow, ...]
    scores: ImageScores | None


@dataclass(frozen=True)
class CardFacts:
    """Everything that a model card is written from.

    Attributes:
        data_root: folder of the data; None if it is not on this machine.
        search: records of the trials of the search.
        confirmation: None if none was started.
    """

    deployment: Deployment
    networks: tuple[NetworkFacts, ...]
    data_root: Path | None
    search: tuple[TrialRecord, ...]
    confirmation: Confirmation | None
    ledger: HeldOutLedger

    @property
    def config(self) -> StudyConfig:
        return self.deployment.context.config

    @property
    def paths(self) -> StudyPaths:
        return self.deployment.context.paths

    @property
    def is_confirmed(self) -> bool:
        """True if every network is a run of the confirmed choice."""
        choice = None if self.confirmation is None else self.confirmation.choice
        if choice is None:
            return False
        runs = {f"confirm/{run.number}" for run in choice.runs}
        return all(network.weights.label in runs for network in self.networks)

    @property
    def own_tests(self) -> tuple[HeldOutTest, ...]:
        """Completed test runs of exactly these weights, with or without flips as deployed."""
        hashes = sorted(network.sha256 for network in self.networks)
        return tuple(test for test in self.ledger.tests if self._is_own(test, hashes))

    def _is_own(self, test: HeldOutTest, hashes: Sequence[str]) -> bool:
        # By content: a label such as confirm/2 could belong to weights that were replaced since.
        same = sorted(test.start.weights.values()) == hashes
        return same and test.start.tta == self.deployment.tta and bool(test.results)


def collect_card_facts(deployment: Deployment) -> CardFacts:
    """Read the files of a study. No image is opened.

    Raises:
        ConfigError, DataError: a file is damaged.
    """
    paths = deployment.context.paths
    return CardFacts(
        deployment,
        tuple(_read_network(member) for member in deployment.weights),
        _find_data_root(deployment),
        tuple(read_records(paths)),
        load_confirmation(paths),
        read_held_out_ledger(paths),
    )


def _read_network(member: TrialWeights) -> NetworkFacts:
    scores = member.paths.scores_csv
    return NetworkFacts(
        member,
        member.config,
        read_record(member.paths.trial_json),
        member.sha256,
        tuple(read_split(member.split_csv)),
        read_scores(scores) if scores.is_file() else None,
    )


def _find_data_root(deployment: Deployment) -> Path | None:
    try:
        return deployment.context.data_root
    except DataError:
        return None
