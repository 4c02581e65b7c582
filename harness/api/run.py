"""Run a study, check one before training, and load a trained network, from Python."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from harness.config.user_code import read_parts_file, register_packages, register_parts_file
from harness.core.paths import STUDY_NAME
from harness.execution.prestart import prestarted_worker
from harness.maintenance.complete import try_to_complete
from harness.search.definition.options import RunOptions

if TYPE_CHECKING:
    from torch import nn

    from harness.api.study import Study
    from harness.config.progress import ProgressReporter
    from harness.search.definition.check_report import CheckReport


def run_study(
    study: str | None = None,
    *,
    question: str | None = None,
    space: str | Path | Mapping[str, Any] | None = None,
    data: str | Path | None = None,
    trials: int | None = None,
    fixed: Mapping[str, Any] | None = None,
    import_from: Sequence[str] = (),
    prior: Sequence[str] = (),
    sampler: str | None = None,
    pruner: str | None = None,
    seed: int | None = None,
    objective: str | None = None,
    skip_bad: bool = False,
    parts: str | Path | None = None,
    label: Sequence[str] = (),
    ignore: Sequence[str] = (),
    device: str = "auto",
    gpus: str | None = None,
    per_gpu: int | Literal["auto"] | None = None,
    workers: int | Literal["auto", "max"] | None = None,
    data_on_device: bool = False,
    timeout_s: float | None = None,
    cluster: str | None = None,
    gpus_per_trial: float | None = None,
    cpus_per_trial: int | None = None,
    scratch: str | None = None,
    trusted_network: bool = False,
    ship_code: bool = False,
    sbatch: str | None = None,
    storage: str | None = None,
    tracking_uri: str | None = None,
    experiment: str | None = None,
    workspace: str | Path = ".",
    progress: "ProgressReporter | None" = None,
) -> "Study":
    """Run a study, or continue it, until it has `trials` finished trials in all.

    Args:
        study: name of the study; None: the stem of the space file.
        question: what the study is to find out, for report and MLflow; None: the first line of the
            space file if that is a comment.
        space: a space file, YAML or CSV (a path, or a name in search_spaces/), or a dict.
        data: a folder with images/ and masks/, or the name of a data set; None: kvasir-seg.
        trials: total number of finished trials, including those of earlier calls; None: the
            recorded number, else the number of rows of a CSV, else 20.
        fixed: values by full key that override those of the space, e.g. `{"train.epochs": 5}`;
            `{"model.encoder_name": {"from": "encoders"}}` takes that of another study's best trial.
        import_from: names of earlier studies whose finished trials are imported where they fit.
        prior: names of earlier studies, on any data, near whose good configurations to search.
        sampler: tpe, random, gp, qmc or grid.
        pruner: none, median, percentile, halving, hyperband, patient or curve.
        seed: seed of the study; the seed of each trial follows from it.
        objective: metric to optimise, e.g. "val/miou"; the better direction follows from it; None:
            the recorded metric, else val/dice_loss.
        skip_bad: leave out pairs that cannot be used when the split is made.
        parts: a Python file that registers networks, losses or metrics; copied into the study.
        label: columns of a CSV space that are stored as tags of the trials.
        ignore: columns of a CSV space that are left out.
        device: auto, cpu, cuda, cuda:1 or mps; for a single worker (the next three are None).
        gpus: "all", or positions in CUDA_VISIBLE_DEVICES such as "0,2"; one worker on each.
        per_gpu: number of workers on each GPU, or "auto": as many as fit by the memory that the
            first trials used. Never run on a GPU yet.
        workers: number of workers on the CPU, which share its threads; "auto": as many as train the
            most images per second together, measured in some 10 s for each number. With `cluster`
            the number of simultaneous trials, or "max".
        data_on_device: hold the training images in the memory of the device and augment them there,
            if they fit. Never run on a GPU yet.
        timeout_s: stop after this many seconds; the next call continues the running trials.
        cluster: ray, ray:HOST:PORT or slurm; None: this machine alone.
        gpus_per_trial: GPUs of each trial on a cluster, e.g. 0.5; None: 1 if it has GPUs.
        cpus_per_trial: processors and threads of each trial on a cluster; None: 1.
        scratch: a folder that all nodes share, or a URL, for checkpoints on a cluster; None: they
            are sent to this machine.
        trusted_network: use a Ray cluster that needs no token.
        ship_code: send this package to the nodes of a Ray cluster.
        sbatch: options of Slurm's sbatch, e.g. "--partition=gpu --time=04:00:00".
        storage: URL of the database of Optuna's index, without a password; None: optuna.db of the
            workspace. Any of them can be rebuilt from the trial folders.
        tracking_uri: an MLflow server or database; None: MLFLOW_TRACKING_URI, else mlflow.db of
            the workspace. Credentials come from MLflow's own variables only.
        experiment: name of a new experiment in MLflow; None: the name of the study.
        workspace: the folder with studies/, data/ and the databases.
        progress: receives messages and progress; None: bars in a notebook that has ipywidgets,
            otherwise lines on standard error.

    Raises:
        UserError: the user must change something first; nothing was written.
        StudyStoppedError: three trials in a row failed with the same cause.
        StudyInterrupted: a signal arrived; the same call continues the study.

    Example:
        study = harness.run_study(space="quickstart.yaml", data="synthetic", trials=6)
    """
    options = RunOptions.from_arguments(locals())  # first of all: exactly the parameters
    from harness.api.notebook_progress import default_progress  # noqa: PLC0415  # as below
    from harness.search.definition.early_checks import check_run_early  # noqa: PLC0415  # OpenCV

    progress = progress or default_progress()
    name = study or (Path(space).stem if isinstance(space, str | Path) else None)
    if name is not None and STUDY_NAME.fullmatch(name):  # others are refused below
        try_to_complete(options.stores.workspace, name, progress.stage)
    if (paths := check_run_early(options, progress)) is None:
        # The worker imports torch while this process does, which takes two processes no longer
        # than one. Several workers need environments (GPU, threads) that only the checks decide.
        with prestarted_worker(options.compute.is_single_worker) as prestarted:
            from harness.search.run.launch import launch  # noqa: PLC0415  # imports optuna

            paths = launch(options, progress, prestarted)
        # After training, as pandas would delay the first trial.
        from harness.report.tables.study_tables import load_study_tables, write_trials_csv  # noqa: PLC0415  # imports pandas

        write_trials_csv(load_study_tables(paths), paths.trials_csv)
    from harness.api.study import Study  # noqa: PLC0415  # imports NumPy

    return Study(paths, options.stores.workspace)


def check(
    study: str | None = None,
    *,
    space: str | Path | Mapping[str, Any] | None = None,
    data: str | Path | None = None,
    fixed: Mapping[str, Any] | None = None,
    objective: str | None = None,
    skip_bad: bool = False,
    parts: str | Path | None = None,
    label: Sequence[str] = (),
    ignore: Sequence[str] = (),
    workspace: str | Path = ".",
    progress: "ProgressReporter | None" = None,
) -> "CheckReport":
    """Check a study before training: the space, every network in it, weights, data.

    Nothing is downloaded, and nothing is written except caches and the images of `synthetic`.

    Args:
        study: name of a study; its space, data and settings are checked where they are not given.
        data: as in `run_study`; if None and there is no data set, the space alone is checked.
        skip_bad: do not report pairs that cannot be used as errors.
        space, fixed, objective, parts, label, ignore, workspace, progress: as in `run_study`.

    Raises:
        ConfigError: the space or the settings cannot be read; the message has every mistake.

    Example:
        assert harness.check(space="encoders.yaml", data="polyps").good
    """
    options = RunOptions.from_arguments(locals())
    from harness.api.notebook_progress import default_progress  # noqa: PLC0415  # as in `run_study`
    from harness.search.definition.early_checks import check_study_early  # noqa: PLC0415  # OpenCV

    progress = progress or default_progress()
    check_study_early(options, progress)
    from harness.search.definition.check_report import check_study  # noqa: PLC0415  # imports torch

    return check_study(options, progress)


def load_model(folder: str | Path, *, parts: str | Path | None = None) -> "nn.Module":
    """Load the trained network of a trial, in evaluation mode, on the CPU.

    The network maps (N, channels, H, W), normalised as its trial's `data.normalize` says, to logits
    (N, classes, H, W). Networks of segmentation-models-pytorch, of harness and of parts files can
    be loaded; nothing is downloaded, and no code in the folder is executed.

    Args:
        folder: `best/model` of a trial, or the trial's folder.
        parts: the Python file that registers a user-defined network; it is executed. The study's
            folder holds a copy.

    Raises:
        ConfigError: the folder holds no network, or its parts file was not given.

    Example:
        network = harness.load_model("studies/encoders/trials/0007/best/model")
    """
    from harness.models.serialization import load_network  # noqa: PLC0415  # imports torch

    root = Path(folder).expanduser()
    model_folder = root / "best" / "model"
    # Before the weights are read: config.json names the
    # network, which a package may have to register.
    register_packages()
    if parts is not None:
        register_parts_file(read_parts_file(Path(parts).expanduser()))
    # Both folders are accepted, as people copy either of them.
    return load_network(model_folder if model_folder.is_dir() else root)
