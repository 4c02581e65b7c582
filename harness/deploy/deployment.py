"""A study opened for use on new images: which weights, which decision rule, and why these."""

from dataclasses import dataclass
from typing import Literal

from harness.config.progress import ProgressReporter
from harness.config.study_files import read_study_config, require_study_yaml
from harness.core.errors import UserError
from harness.core.paths import StudyPaths
from harness.core.records import read_records
from harness.deploy.ensemble import load_or_select_ensemble
from harness.evaluation.confirm.load_confirmation import load_confirmation
from harness.evaluation.decision.frozen_rule import FrozenRule, load_or_choose_rule
from harness.evaluation.held_out.weights import TrialWeights, select_weights
from harness.search.definition.context import StudyContext, open_context
from harness.search.definition.definition import StudyDefinition
from harness.search.definition.options import RunOptions
from harness.space.space import SearchSpace

EnsembleKind = Literal["confirmed", "best"]


@dataclass(frozen=True)
class DeploymentRequest:
    """The weights that a user asks for.

    Attributes:
        trial: number of a trial of the search; None: the confirmed choice, else the leading trial.
        ensemble: average the probabilities of all confirmed seeds of the choice ("confirmed"), or
            of trials that are selected greedily on validation images ("best"); None: one network.
        tta: test-time augmentation: also average over four flips of each image.
    """

    trial: int | None = None
    ensemble: EnsembleKind | None = None
    tta: bool = False


@dataclass(frozen=True)
class Deployment:
    """Weights with their decision rule, ready to predict.

    Attributes:
        weights: one network, or the members of an ensemble.
        tta: average over four flips of each image.
        rule: decision rule, chosen on validation images and frozen.
        reason: one sentence: which weights these are, and why.
    """

    context: StudyContext
    weights: tuple[TrialWeights, ...]
    tta: bool
    rule: FrozenRule
    reason: str

    @property
    def label(self) -> str:
        """The labels of the weights, as in the ledger of held-out tests."""
        return " + ".join(member.label for member in self.weights)


def open_deployment(
    options: RunOptions, request: DeploymentRequest, progress: ProgressReporter
) -> Deployment:
    """Select weights, and read their decision rule or choose it on validation images.

    No test image is opened. The data set is needed only if the rule is not frozen yet.

    Raises:
        UserError: the study or the trial does not exist, no weights are left, or the validation
            images that the rule needs are missing.
    """
    paths = options.stores.workspace.study(options.search.study or "")
    require_study_yaml(paths)
    context = open_context(options, paths, progress, lambda: _read_definition(paths))
    weights, reason = choose_weights(context, request, progress)
    progress.stage(f"study {paths.name}: {reason}")
    rule = load_or_choose_rule(context, weights, progress, tta=request.tta)
    return Deployment(context, weights, request.tta, rule, reason)


def choose_weights(
    context: StudyContext, request: DeploymentRequest, progress: ProgressReporter
) -> tuple[tuple[TrialWeights, ...], str]:
    """The weights of a request, and a sentence that names them and the reason.

    Raises:
        UserError: the trial does not exist, or its weights were deleted.
    """
    paths, keep = context.paths, context.config.budget.keep
    if request.ensemble == "best" and request.trial is None:
        members = load_or_select_ensemble(context, progress, tta=request.tta)
        return members, "ensemble selected on validation images"
    if request.trial is not None:
        weights = select_weights(
            paths, request.trial, ensemble=request.ensemble is not None, keep=keep
        )
        return weights, f"trial {request.trial}, as requested"
    confirmation = load_confirmation(paths)
    if confirmation is not None and confirmation.choice is not None:
        ensemble = request.ensemble == "confirmed"
        weights = select_weights(paths, None, ensemble=ensemble, keep=keep)
        seeds = f", mean of {len(weights)} {confirmation.kind}s" if ensemble else ""
        return weights, f"confirmed choice, {confirmation.choice.name}{seeds}"
    if request.ensemble == "confirmed":
        select_weights(paths, None, ensemble=True, keep=keep)  # raises, with the remedy
    return _leading_weights(context)


def _leading_weights(context: StudyContext) -> tuple[tuple[TrialWeights, ...], str]:
    """The best complete trial; its weights are among those that the study keeps."""
    paths = context.paths
    best = context.config.objective.best(read_records(paths))
    if best is None:
        raise UserError(
            f"study {paths.name} has no complete trial yet; continue it with "
            f"harness run --study {paths.name}"
        )
    weights = select_weights(paths, best.number, keep=context.config.budget.keep)
    return weights, (
        f"trial {best.number}, leading but not confirmed (harness confirm --study {paths.name} "
        "trains the best configurations again and chooses among them)"
    )


def _read_definition(paths: StudyPaths) -> StudyDefinition:
    """The recorded settings. Trained weights need no space, so none is read or checked."""
    return StudyDefinition(read_study_config(paths), SearchSpace(), is_started=True)
