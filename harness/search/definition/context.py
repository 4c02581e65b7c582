"""An opened study: user code registered, definition resolved; data, devices and stores on demand.

Every command that works on a study opens it here: run, check, confirm, test and lr-find.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from harness.config.progress import ProgressReporter
from harness.config.study import StudyConfig
from harness.config.user_code import (
    PARTS_FILE_NAME,
    PartsConfig,
    PartsFile,
    expand_parts_config,
    read_parts_file,
    register_packages,
    register_parts_file,
)
from harness.core import strict_yaml
from harness.core.errors import ConfigError
from harness.core.paths import StudyPaths, Workspace
from harness.core.settings import validate_settings
from harness.core.text import count
from harness.data.datasets.sources import find_data, source_folder
from harness.execution.slots import VISIBLE_DEVICES, Slot, plan_slots, visible_gpus
from harness.search.definition.cluster_access import ClusterAccess, open_cluster
from harness.search.definition.definition import StudyDefinition, resolve_definition
from harness.search.definition.legal_names import legal_names
from harness.search.definition.options import RunOptions
from harness.search.storage.location import StorageLocation, resolve_storage
from harness.space.reading.load_space import find_space
from harness.tracking.uri import TrackingStore, resolve_tracking_store
from harness.training.hardware.device import DeviceFacts, pick_device
from harness.training.hardware.device_probe import resolve_devices


@dataclass(frozen=True)
class StudyContext:
    """A study that a command works on. Nothing here has been written.

    The properties raise UserError when they are first read, so that a command chooses the order
    in which mistakes are reported, and pays for no device that it does not use.

    Attributes:
        parts: the registered file of user-defined components; None: the study has no such file.
    """

    options: RunOptions
    paths: StudyPaths
    parts: PartsFile | None
    definition: StudyDefinition
    progress: ProgressReporter

    @property
    def workspace(self) -> Workspace:
        return self.options.stores.workspace

    @property
    def config(self) -> StudyConfig:
        return self.definition.config

    # cached_property writes into __dict__, which a frozen dataclass without slots permits. An
    # exception is not cached: a second access tries, and raises, again.
    @cached_property
    def source(self) -> Path:
        """The data set: a folder, or a CSV file that lists the pairs."""
        return find_data(self.config.data.root, self.workspace)

    @property
    def data_root(self) -> Path:
        """The folder from which the paths of the split start."""
        return source_folder(self.source)

    @cached_property
    def storage(self) -> StorageLocation:
        """The database of Optuna's index."""
        return resolve_storage(self.workspace, self.options.stores.storage)

    @cached_property
    def tracking_store(self) -> TrackingStore:
        """The MLflow store that mirrors the study."""
        return resolve_tracking_store(
            self.workspace,
            self.paths,
            str(self.config.id),
            uri=self.options.stores.tracking_uri,
            experiment=self.options.stores.experiment,
        )

    @cached_property
    def cluster(self) -> ClusterAccess | None:
        """The cluster of `--cluster`, whose nodes have the right versions; None: this machine."""
        return open_cluster(self.options.compute, self.progress.stage)

    @property
    def slots(self) -> tuple[Slot, ...]:
        """Places in which trials run simultaneously, each with its device; () on a cluster."""
        return () if self.cluster is not None else self._slots_and_devices[0]

    @property
    def n_workers(self) -> int:
        """Number of trials that run simultaneously."""
        return len(self.slots) if self.cluster is None else self.cluster.n_workers()

    @property
    def trial_device(self) -> str:
        """Device in the tasks of trials; on a cluster each node chooses its own."""
        return "auto" if self.cluster is not None else self.slots[0].device

    @property
    def workers_text(self) -> str:
        """Number of workers and the place of these; "" for one on this machine."""
        if self.cluster is not None:
            return f" · {self.cluster.describe()}"
        return workers_line(self.slots)

    @property
    def devices(self) -> tuple[DeviceFacts, ...]:
        """The device of each slot, or of each node of a cluster."""
        if self.cluster is not None:
            return self.cluster.devices
        return self._slots_and_devices[1]

    @cached_property
    def _slots_and_devices(self) -> tuple[tuple[Slot, ...], tuple[DeviceFacts, ...]]:
        compute = self.options.compute
        assert compute.workers != "max", "without a cluster it is refused"
        # Child processes probe the GPUs. A CUDA context in this process would take half a gigabyte
        # of GPU memory, and prevent a worker's own on a GPU in exclusive mode.
        return resolve_devices(
            plan_slots(
                device=compute.device,
                gpus=compute.gpus,
                per_gpu=compute.per_gpu,
                workers=compute.workers,
                visible=visible_gpus(torch.cuda.device_count()),
                threads=torch.get_num_threads(),
            )
        )

    def close(self) -> None:
        """Leave the cluster, if the command has joined one."""
        # cached_property keeps its value here; reading it would join a cluster.
        if (cluster := self.__dict__.get("cluster")) is not None:
            cluster.close()

    @cached_property
    def device(self) -> torch.device:
        """The one device of a command that trains or predicts in this process."""
        return pick_device(self.options.compute.device)


def open_context(
    options: RunOptions,
    paths: StudyPaths,
    progress: ProgressReporter,
    resolve: Callable[[], StudyDefinition] | None = None,
) -> StudyContext:
    """Register packages and the study's own file of components, then resolve the definition.

    Args:
        paths: the study's folder, which need not exist.
        resolve: called once the components are registered; None: the files of the study with the
            search options over them (`resolve_definition`).

    Raises:
        ConfigError: a file of components or a setting is wrong, or a started study would change.
    """
    for problem in register_packages():
        progress.stage(problem)
    parts = load_study_parts(paths, options.search.parts)
    # Only now: --set and --objective may name a loss or a metric that the file registers.
    definition = _resolve_options(options, paths, parts) if resolve is None else resolve()
    return StudyContext(options, paths, parts, definition, progress)


def find_option_space(options: RunOptions) -> Path | Mapping[str, Any] | None:
    """The space of `--space`: the path of the named file, or the mapping itself."""
    space = options.search.space
    return find_space(space, options.stores.workspace) if isinstance(space, str) else space


def device_line(devices: Sequence[DeviceFacts]) -> str:
    """Describe the devices, each kind once, and on a CPU its threads."""
    threads = f" ({count(torch.get_num_threads(), 'thread')})" if devices[0].device == "cpu" else ""
    return " and ".join(dict.fromkeys(device.description for device in devices)) + threads


def workers_line(slots: Sequence[Slot]) -> str:
    """Number of workers and their GPUs; "" for one worker."""
    if len(slots) == 1:
        return ""
    gpus = dict.fromkeys(
        slot.environment[VISIBLE_DEVICES] for slot in slots if VISIBLE_DEVICES in slot.environment
    )
    return f" · {count(len(slots), 'worker')}" + (f" on GPUs {', '.join(gpus)}" if gpus else "")


def _resolve_options(
    options: RunOptions, paths: StudyPaths, parts: PartsFile | None
) -> StudyDefinition:
    search = options.search
    return resolve_definition(
        paths,
        space=find_option_space(options),
        overrides=search.overrides | parts_override(parts),
        fixed=search.fixed,
        legal=legal_names(),
        label=search.label,
        ignore=search.ignore,
    )


def load_study_parts(paths: StudyPaths, parts_path: Path | None) -> PartsFile | None:
    """Read and register the parts file of a study.

    Args:
        paths: folder of the study.
        parts_path: file of `--parts`; None selects the file that study.yaml names.

    Returns:
        None if the study has no parts file.

    Raises:
        ConfigError: the file does not exist, is invalid, or differs from the recorded one.
    """
    recorded = _read_parts_config(paths)
    path = None if recorded is None else paths.parts(recorded.file)
    if parts_path is not None:
        path = parts_path.resolve()
        if not PARTS_FILE_NAME.fullmatch(path.name):
            raise ConfigError(
                f"--parts {parts_path}: must be a .py file named with letters, digits, - and _ only"
            )
    if path is None:
        register_parts_file(None)
        return None
    file = read_parts_file(path)
    if recorded is not None and recorded.sha256 not in (None, file.sha256):
        # Checked before registration, which executes the file.
        raise ConfigError(
            [
                f"study {paths.name} has started and must not change; this would change it:",
                f"  parts.sha256: {recorded.sha256!r} -> {file.sha256!r}",
                f"restore {path}, or start a new study under another name with --study",
            ]
        )
    register_parts_file(file)
    return file


def parts_override(file: PartsFile | None) -> dict[str, dict[str, str]]:
    """Entry of study.yaml for a parts file, with its current digest."""
    if file is None:
        return {}
    return {"parts": {"file": file.path.name, "sha256": file.sha256}}


def _read_parts_config(paths: StudyPaths) -> PartsConfig | None:
    """Entry `parts` of study.yaml; None if the entry or the file is absent."""
    if not paths.study_yaml.exists():
        return None
    location = str(paths.study_yaml)
    study = strict_yaml.load_yaml(
        paths.study_yaml.read_text(encoding="utf-8"), source=location
    ).value
    value = expand_parts_config(study.get("parts")) if isinstance(study, dict) else None
    if value is None:
        return None
    if not isinstance(value, dict):
        raise ConfigError(
            f"{location}: parts: must be the name of a .py file in the folder of study.yaml"
        )
    return validate_settings(PartsConfig, value, f"{location}: parts")
