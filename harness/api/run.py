"""What `import harness` offers: check and run a study, open one, read it, write its report."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.execution.prestart import prestarted_worker
from harness.search.definition.options import RunOptions

if TYPE_CHECKING:
    from torch import nn

    from harness.api.study import Study
    from harness.config.progress import ProgressReporter
    from harness.search.definition.check_report import CheckReport


def run_study(
    study: str | None = None,
    *,
    space: str | Path | Mapping[str, Any] | None = None,
    data: str | Path | None = None,
    trials: int | None = None,
    fixed: Mapping[str, Any] | None = None,
    import_from: Sequence[str] = (),
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
    per_gpu: int | None = None,
    workers: int | None = None,
    timeout_s: float | None = None,
    storage: str | None = None,
    tracking_uri: str | None = None,
    experiment: str | None = None,
    workspace: str | Path = ".",
    progress: "ProgressReporter | None" = None,
) -> "Study":
    """Run a study, or continue it, until it has `trials` finished trials in all.

    Args:
        study: its name; None takes the stem of the space file.
        space: a space file, YAML or CSV (a path, or a name in search_spaces/), or a dict.
        data: a folder with images/ and masks/, or the name of a data set; None: kvasir-seg.
        trials: finished trials in all, those of earlier calls included; None: as recorded, else as
            many as a CSV has rows, else 20.
        fixed: values by full key laid over the space's, e.g. `{"train.epochs": 5}`;
            `{"model.encoder_name": {"from": "encoders"}}` takes that of another study's best trial.
        import_from: names of earlier studies whose finished trials are taken over where they fit.
        sampler: tpe, random, gp, qmc or grid.
        pruner: none, median, percentile, halving, hyperband, patient or curve.
        seed: of the study; each trial's own seed follows from it.
        objective: the metric that the study optimises, e.g. "val/miou"; the better direction
            follows from it; None: as recorded, else val/dice_loss.
        skip_bad: leave out the pairs that cannot be used when the split is made.
        parts: a Python file that registers networks, losses or metrics; copied into the study.
        label: columns of a CSV space that are kept as tags of the trials.
        ignore: columns of a CSV space that are left out.
        device: auto, cpu, cuda, cuda:1 or mps; of the one worker, where the next three are None.
        gpus: "all", or positions among those of CUDA_VISIBLE_DEVICES, "0,2": a worker on each.
        per_gpu: workers on each GPU.
        workers: workers on the CPU, which share its threads.
        timeout_s: stop after so many seconds; what runs then is put by, and continued next time.
        storage: address of the database that holds Optuna's index, without a password; None:
            optuna.db of the workspace. It can be rebuilt from the trial folders, whichever it is.
        tracking_uri: an MLflow server or database; None: MLFLOW_TRACKING_URI, else mlflow.db of
            the workspace. Credentials come from MLflow's own variables only.
        experiment: name of the study's experiment in MLflow, when it is made; None: the study's.
        workspace: the folder with studies/, data/ and the databases.
        progress: who is told what happens; None: lines on standard error.

    Raises:
        UserError: something must be changed first; nothing was written.
        StudyStoppedError: the same cause failed three trials in a row.
        StudyInterrupted: a signal arrived; call again to continue.

    Example:
        study = harness.run_study(space="quickstart.yaml", data="synthetic", trials=6)
    """
    options = RunOptions.from_arguments(locals())
    # A worker of several has an environment of its own, which is not known yet.
    with prestarted_worker(options.compute.is_single_worker) as prestarted:
        from harness.config.progress import LineProgress  # noqa: PLC0415
        from harness.search.run.launch import launch  # noqa: PLC0415  # imports torch

        paths = launch(options, progress or LineProgress(), prestarted)
    from harness.api.study import Study  # noqa: PLC0415  # imports pandas and scipy
    from harness.report.tables.study_tables import write_trials_csv  # noqa: PLC0415

    finished_study = Study(paths, options.stores.workspace)
    write_trials_csv(finished_study.tables, paths.trials_csv)
    return finished_study


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
    """Everything that can be known before training: the space, every network in it, the data.

    Nothing is fetched, and nothing written but caches and the images of `synthetic`.

    Args:
        study: whose space, data and settings are checked, where they are not given here.
        space: as in `run_study`.
        data: as in `run_study`; None and none found: the space alone is checked.
        fixed: values by full key laid over the space's.
        objective: as in `run_study`.
        skip_bad: pairs that cannot be used would be left out.
        parts, label, ignore: as in `run_study`.
        workspace: the folder with studies/ and data/.
        progress: who is told what happens; None: lines on standard error.

    Raises:
        ConfigError: the space or the settings cannot be read; every mistake in them.

    Example:
        assert harness.check(space="encoders.yaml", data="polyps").good
    """
    options = RunOptions.from_arguments(locals())
    from harness.config.progress import LineProgress  # noqa: PLC0415
    from harness.search.definition.check_report import check_study  # noqa: PLC0415  # imports torch

    return check_study(options, progress or LineProgress())


def load_model(folder: str | Path, *, parts: str | Path | None = None) -> "nn.Module":
    """The network that a trial has kept, in evaluation mode, on the CPU.

    It maps (N, channels, H, W), normalised as its trial's `data.normalize` says, to logits
    (N, classes, H, W). Networks of segmentation-models-pytorch, of harness and of parts files are
    read; nothing is fetched, and no code in the folder is executed.

    Args:
        folder: `best/model` of a trial, or the trial's folder.
        parts: the Python file that registers the network, where it is one of the user's own; it is
            executed. The study's folder holds a copy.

    Raises:
        ConfigError: there is no such network, or it is of a parts file that was not given.

    Example:
        network = harness.load_model("studies/encoders/trials/0007/best/model")
    """
    from harness.config.user_code import read_parts_file, register_packages, register_parts_file  # noqa: PLC0415
    from harness.models.serialization import load_network  # noqa: PLC0415  # brings torch

    root = Path(folder).expanduser()
    model_folder = root / "best" / "model"
    register_packages()
    if parts is not None:
        register_parts_file(read_parts_file(Path(parts).expanduser()))
    return load_network(model_folder if model_folder.is_dir() else root)
