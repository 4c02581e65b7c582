"""Options of one call of `harness run`, `check`, `confirm`, `test` or `lr-find`, in three parts.

The parameters of the public functions and the options on the command line have the names of the
fields here, so that a new option is declared once for all commands that take it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from harness.config.objective import objective_override
from harness.core.paths import Workspace, expand_user_path
from harness.execution.gpu_packing import PerGpu

DEFAULT_TRIALS = 20  # of a study whose space lists no rows


@dataclass(frozen=True)
class SearchOptions:
    """The study, its space and its settings; None means the recorded value, else the default.

    Attributes:
        study: name of the study; None: the stem of the space file.
        question: what the study is to find out; `question` in study.yaml.
        space: path or name of a space file, or the space itself as a mapping.
        data: folder or name of a data set, `data.root` in study.yaml.
        trials: total number of finished trials, those of earlier calls included.
        fixed: values of the trial configuration by full key.
        import_from: names of earlier studies whose finished trials are imported.
        prior: names of earlier studies whose good configurations guide the search.
        sampler: `sampler.name` in study.yaml.
        pruner: `pruner.name` in study.yaml.
        seed: `seed` in study.yaml.
        objective: name of the metric that the study optimises.
        skip_bad: leave out pairs that cannot be used when the split is made.
        parts: Python file with user-defined networks, losses and metrics.
        label: columns of a CSV space that are stored as tags of the trials.
        ignore: columns of a CSV space that are left out.
    """

    study: str | None = None
    question: str | None = None
    space: str | Mapping[str, Any] | None = None
    data: str | None = None
    trials: int | None = None
    fixed: Mapping[str, Any] = field(default_factory=dict)
    import_from: Sequence[str] = ()
    prior: Sequence[str] = ()
    sampler: str | None = None
    pruner: str | None = None
    seed: int | None = None
    objective: str | None = None
    skip_bad: bool = False
    parts: Path | None = None
    label: Sequence[str] = ()
    ignore: Sequence[str] = ()

    @property
    def overrides(self) -> dict[str, Any]:
        """Settings of study.yaml by full key, without those that were not given."""
        settings = {
            "question": self.question,
            "data.root": self.data,
            "sampler.name": self.sampler,
            "pruner.name": self.pruner,
            "seed": self.seed,
        }
        given = {key: value for key, value in settings.items() if value is not None}
        return given | objective_override(self.objective)


@dataclass(frozen=True)
class ComputeOptions:
    """Devices, number of workers and time limit of one call.

    Attributes:
        device: auto, cpu, cuda, cuda:1 or mps.
        gpus: "all", or positions in CUDA_VISIBLE_DEVICES such as "0,2".
        per_gpu: workers on each GPU; "auto": as many as fit by their measured memory.
        workers: workers on the CPU, "auto" as many as train the most images per second together;
            on a cluster workers of any kind, "max" as many as fit.
        timeout_s: seconds after which the call stops.
        data_on_device: hold and augment the training images on the device, where they fit.
        cluster: "ray", "ray:HOST:PORT" or "slurm"; None: this machine.
        gpus_per_trial: GPUs of each trial on a cluster, e.g. 0.5.
        cpus_per_trial: processors, and threads, of each trial on a cluster.
        scratch: folder or URL for the checkpoints of a cluster without a shared disk.
        trusted_network: use a Ray cluster that any machine of its network may use.
        ship_code: send this package to the nodes.
        sbatch: options of Slurm's sbatch, e.g. "--partition=gpu --gres=gpu:1".
    """

    device: str = "auto"
    gpus: str | None = None
    per_gpu: PerGpu | None = None
    workers: int | Literal["auto", "max"] | None = None
    timeout_s: float | None = None
    data_on_device: bool = False
    cluster: str | None = None
    gpus_per_trial: float | None = None
    cpus_per_trial: int | None = None
    scratch: str | None = None
    trusted_network: bool = False
    ship_code: bool = False
    sbatch: str | None = None

    @property
    def is_single_worker(self) -> bool:
        """True if one worker trains on `device`, in the environment of this process."""
        is_local = self.cluster is None and self.gpus is None and self.per_gpu is None
        return is_local and self.workers in (None, 1)


@dataclass(frozen=True)
class StoreOptions:
    """Workspace and databases.

    Attributes:
        workspace: the folder of studies, data and databases.
        storage: URL of the database of Optuna's index; None: optuna.db of the workspace.
        tracking_uri: MLflow server or database; None: MLFLOW_TRACKING_URI, else mlflow.db of the
            workspace.
        experiment: name of the study's experiment in MLflow; None: the name of the study.
    """

    workspace: Workspace
    storage: str | None = None
    tracking_uri: str | None = None
    experiment: str | None = None


@dataclass(frozen=True)
class RunOptions:
    """Everything that a user may choose for one call."""

    search: SearchOptions
    compute: ComputeOptions
    stores: StoreOptions

    @classmethod
    def from_arguments(cls, arguments: Mapping[str, Any]) -> "RunOptions":
        """Sort the keyword arguments of a public function into the parts that declare them.

        Arguments that are None or that no part declares, such as `progress`, are left out.
        """
        # None is dropped, not passed on: it means "not given", also where a field has a default.
        given = {
            name: _CONVERTERS[name](value) if name in _CONVERTERS else value
            for name, value in arguments.items()
            if value is not None
        }

        def select(part: type) -> dict[str, Any]:
            # By name, so each option may occur in one part only:
            # a name in two parts would go into both.
            names = {declared.name for declared in fields(part)}
            return {name: value for name, value in given.items() if name in names}

        return cls(
            SearchOptions(**select(SearchOptions)),
            ComputeOptions(**select(ComputeOptions)),
            StoreOptions(**select(StoreOptions)),
        )


def _plain_space(space: str | Path | Mapping[str, Any]) -> str | Mapping[str, Any]:
    return str(space) if isinstance(space, Path) else space


# Python callers may give a path as text or as `Path`, and a list where the parts hold a tuple.
_CONVERTERS: dict[str, Callable[[Any], Any]] = {
    "space": _plain_space,
    "data": str,
    "fixed": dict,
    "import_from": tuple,
    "prior": tuple,
    "parts": expand_user_path,
    "label": tuple,
    "ignore": tuple,
    "workspace": Workspace.at,
}
