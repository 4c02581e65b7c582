"""Start or continue a study: resolve the options, check everything, write the files, train.

Nothing is written before every check has passed.
"""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from harness.config.progress import ProgressReporter
from harness.config.study_files import require_study_yaml
from harness.core.errors import UserError
from harness.core.paths import StudyPaths
from harness.core.records import count_ended_trials
from harness.core.study_lock import hold_study_lock, refuse_if_locked
from harness.data.splits.splits import SplitRow
from harness.execution.prestart import PrestartedWorker
from harness.search.definition.ceilings import record_ceilings
from harness.search.definition.component_checks import check_losses, delayed_bar, possible_values
from harness.search.definition.context import StudyContext, open_context
from harness.search.definition.data_setup import load_or_make_split, split_line
from harness.search.definition.definition import StudyDefinition, study_is_started
from harness.search.definition.early_checks import refuse_orphan_trials
from harness.search.definition.network_library import NetworkLibrary
from harness.search.definition.options import RunOptions
from harness.search.definition.scoring_size import resolve_metrics_size
from harness.search.definition.study_options import locate_study
from harness.search.definition.trial_plan import total_trials
from harness.search.definition.write_definition import write_definition
from harness.search.imports.copy_trials import copy_imports
from harness.search.imports.imports import check_import_names, log_import_plans
from harness.search.imports.priors import check_prior_names, log_priors, plan_priors
from harness.search.run.disk_space import check_disk_space, needed_bytes
from harness.search.run.run import RefusalRule, StudyRun, run_trials
from harness.search.run.stop_conditions import StopConditions, stop_on_signals
from harness.search.run.trials import TrialContext
from harness.search.storage.name_check import check_name_is_free
from harness.training.hardware.device_facts import describe_precision


def launch(
    options: RunOptions, progress: ProgressReporter, prestarted: PrestartedWorker | None = None
) -> StudyPaths:
    """Run or continue a study until it has the requested number of finished trials.

    Args:
        prestarted: a worker process that is already importing torch.

    Raises:
        UserError: something must be changed first; nothing was written.
        StudyStoppedError: three trials in a row failed with the same cause.
        StudyInterrupted: a signal arrived; the study can be continued.
    """
    with stop_on_signals(options.compute.timeout_s) as stop_conditions:
        context = open_context(options, locate_study(options), progress)
        if not context.definition.is_started:
            refuse_orphan_trials(context.paths)
        with closing(context):
            _run_study(context, progress, stop_conditions, prestarted)
    return context.paths


def _run_study(
    context: StudyContext,
    progress: ProgressReporter,
    stop_conditions: StopConditions,
    prestarted: PrestartedWorker | None,
) -> None:
    paths, options, definition = context.paths, context.options, context.definition
    trials = total_trials(options, definition)
    # In this order: an address or a device is refused before the images are read, which is slow.
    tracking_store, storage, n_workers = (
        context.tracking_store,
        context.storage,
        context.n_workers,
    )
    check_losses(definition)
    augments = context.networks.check_augments(definition, context.workspace, paths)
    progress.stage(summary_line(context, context.paths))
    split = load_or_make_split(
        context.workspace,
        paths,
        definition,
        context.source,
        progress,
        skip_bad=options.search.skip_bad,
    )
    progress.stage(split_line(split))
    definition = resolve_metrics_size(definition, context.data_root, split)
    if definition.config.data.metrics_at == "native":
        progress.stage("metrics are computed at the size of each image, in every trial")
    refuse = run_preflight(
        context.networks,
        definition,
        split,
        paths,
        trials,
        n_workers,
        progress,
        options.search.space,
    )
    # After the split: only trials that were validated on the same images can be imported.
    definition = _add_imports(context, definition, split, augments, progress)
    definition = _add_priors(context, definition, trials, progress)
    if not definition.is_started:
        # A name that is taken in optuna.db or MLflow would otherwise leave half a study behind.
        study_id = str(definition.config.id)
        try:
            check_name_is_free(storage, tracking_store, paths.name, study_id, progress.stage)
        except UserError:
            # A process that has started this study meanwhile holds the lock from before its entry
            # in the database, which looks like that of another study here.
            refuse_if_locked(paths)
            _refuse_concurrent_start(paths)
            raise
    if definition.is_started:
        require_study_yaml(paths)  # renamed or deleted since the definition was read
    # Nothing has been written so far.
    with hold_study_lock(paths):
        if not definition.is_started:
            _refuse_concurrent_start(paths)
            write_definition(paths, definition, split, augments, context.parts)
        record_ceilings(paths, definition, split, context.data_root, progress)
        copy_imports(paths, definition)
        run = build_study_run(
            context, definition, paths, [split], trials, refuse=refuse, stops=stop_conditions
        )
        run_trials(run, progress, prestarted)


def summary_line(context: StudyContext, paths: StudyPaths) -> str:
    """Study, data, devices with the precisions that its trials can use, and workspace."""
    # `auto` can mean different precisions on different GPUs of one machine.
    settings = possible_values(context.definition, "train.precision")
    precisions = dict.fromkeys(
        describe_precision(setting, device) for setting in settings for device in context.devices
    )
    return (
        f"study {paths.name} · data {context.source} · device "
        f"{context.devices_text}, {' or '.join(precisions)}{context.workers_text} · "
        f"workspace {context.workspace.root}"
    )


def build_study_run(
    context: StudyContext,
    definition: StudyDefinition,
    paths: StudyPaths,
    splits: Sequence[Sequence[SplitRow]],
    trials: int,
    *,
    refuse: RefusalRule,
    stops: StopConditions,
) -> StudyRun:
    """Combine an opened study and its checked definition into what `run_trials` takes.

    Args:
        definition: of the trained study; a confirmation opens one study and trains another.
        paths: folder of the trained study.
        splits: one, or one per fold.
        trials: total number of finished trials.
    """
    context.networks.close()  # its memory is free while the study runs
    facts = context.devices[0]
    return StudyRun(
        workspace=context.workspace,
        definition=definition,
        context=TrialContext(
            paths,
            context.data_root,
            context.workspace.cache,
            context.trial_device,
            context.options.compute.data_on_device,
            report_steps=context.cluster is None,  # many nodes would load the controller
        ),
        split=splits[0],
        trials=trials,
        slots=context.slots,
        packing=context.packing,
        networks=context.networks,
        cluster=context.cluster,
        device=None if facts.has_bf16 is None else facts.description,
        refuse=refuse,
        stop_conditions=stops,
        storage=context.storage,
        tracking_store=context.tracking_store,
        more_splits=splits[1:],
    )


def run_preflight(
    networks: NetworkLibrary,
    definition: StudyDefinition,
    split: Sequence[SplitRow],
    paths: StudyPaths,
    trials: int,
    n_slots: int,
    progress: ProgressReporter,
    space: str | Mapping[str, Any] | None = None,
) -> RefusalRule:
    """Build every network before trial 0, check disk space, and download all weights.

    Args:
        networks: builds them.
        paths: folder of the trained study.
        trials: total number of finished trials; a study that has them builds nothing.
        n_slots: number of trials that run simultaneously, for the estimate of disk space.
        space: `--space`, for the hint to `harness check`.

    Returns:
        The rule that refuses a configuration whose network cannot be built.
    """
    n_train = sum(row.role == "train" for row in split)
    refusal = partial(networks.config_refusal, definition, n_train)
    # Nothing will be trained then, so no time is spent on building hundreds of networks.
    if count_ended_trials(paths) >= trials:
        return refusal
    summary = networks.check_networks(definition, n_train, delayed_bar(progress))
    # The largest network decides: every trial may be one of those that stay on disk.
    n_val = sum(row.role == "val" for row in split)
    check_disk_space(paths, needed_bytes(definition.config, summary.max_parameters, n_val, n_slots))
    option = f"--space {space}" if isinstance(space, str) else f"--study {paths.study.name}"
    hint = f": harness check {option} shows them" if summary.n_impossible else ""
    progress.stage(f"{summary.line}{hint}")
    networks.ensure_weights(summary.pretrained_encoders)
    return refusal


def _add_imports(
    context: StudyContext,
    definition: StudyDefinition,
    split: Sequence[SplitRow],
    augments: Sequence[Path],
    progress: ProgressReporter,
) -> StudyDefinition:
    """The definition with the plan of its imports from earlier studies; nothing is written."""
    config = definition.config
    import_from = context.options.search.import_from
    if definition.is_started:
        check_import_names(import_from, context.paths, config)
        return definition
    # A study.yaml written by hand may name imports, too; --from replaces them.
    names = import_from or [plan.study for plan in config.imports]
    if not names:
        return definition
    plans = context.networks.plan_imports(names, context.paths, definition, split, augments)
    log_import_plans(plans, progress)
    return replace(definition, config=config.model_copy(update={"imports": plans}))


def _add_priors(
    context: StudyContext, definition: StudyDefinition, trials: int, progress: ProgressReporter
) -> StudyDefinition:
    """The definition with the good configurations of earlier studies; nothing is written."""
    config, prior = definition.config, context.options.search.prior
    if definition.is_started:
        check_prior_names(prior, context.paths, config)
        return definition
    names = prior or [recorded.study for recorded in config.priors]
    if not names:
        return definition
    priors = plan_priors(names, context.paths, definition, trials)
    log_priors(priors, progress)
    return replace(definition, config=config.model_copy(update={"priors": priors}))


def _refuse_concurrent_start(paths: StudyPaths) -> None:
    """Refuse a definition that another process wrote after ours was resolved, without the lock."""
    if study_is_started(paths):
        raise UserError(
            f"study {paths.name}: another process has just started it; run the command again"
        )
