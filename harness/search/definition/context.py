"""An opened study: user code registered, definition resolved; data, devices and stores on demand.

Every command that works on a study opens it here: run, check, confirm, test and lr-find.
"""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from harness.config.progress import ProgressReporter
from harness.config.study import StudyConfig, TrialConfig
from harness.config.user_code import PartsFile, register_packages
from harness.core.paths import StudyPaths, Workspace
from harness.core.processors import available_threads
from harness.core.text import count
from harness.data.datasets.sources import find_data, source_folder
from harness.execution.gpu_packing import PackingLimits
from harness.execution.slots import VISIBLE_DEVICES, Slot, plan_slots, visible_gpus
from harness.search.definition.cluster_access import ClusterAccess, open_cluster
from harness.search.definition.definition import StudyDefinition
from harness.search.definition.network_library import NetworkLibrary
from harness.search.definition.network_process import NetworkProcess
from harness.search.definition.options import RunOptions
from harness.search.definition.study_options import resolve_options
from harness.search.definition.study_parts import load_study_parts
from harness.search.storage.location import StorageLocation, resolve_storage
from harness.tracking.uri import TrackingStore, resolve_tracking_store
from harness.training.hardware.device_facts import DeviceFacts

if TYPE_CHECKING:
    import torch

# Of `--workers auto`: draws of a configuration that can be trained, for a data set of any size.
_MAX_DRAWS, _MANY_IMAGES = 100, 10_000


@dataclass(frozen=True)
class StudyContext:
    """A study that a command works on. Nothing here has been written.

    The properties raise UserError when they are first read, so that a command chooses the order
    in which mistakes are reported, and pays for no device that it does not use.

    Attributes:
        parts: the registered file of user-defined components; None: the study has no such file.
        opened_networks: the network libraries, if the definition was resolved with them.
    """

    options: RunOptions
    paths: StudyPaths
    parts: PartsFile | None
    definition: StudyDefinition
    progress: ProgressReporter
    opened_networks: NetworkLibrary | None = None

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
    def networks(self) -> NetworkLibrary:
        """The network libraries; those of a cluster's controller are in a child process."""
        return self.opened_networks or _open_networks(self.options, self.parts)

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
    def packing(self) -> PackingLimits | None:
        """Limits of `--per-gpu auto`; None: the number of trials on each GPU is fixed."""
        if self.options.compute.per_gpu != "auto":
            return None
        free_mb = min(device.free_mb or 0.0 for device in self.devices)
        gpus = Counter(slot.environment[VISIBLE_DEVICES] for slot in self.slots)
        return PackingLimits(free_mb, max(gpus.values()))

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
    def devices_text(self) -> str:
        """The devices, each kind once, and on a CPU the threads of each worker."""
        compute = self.options.compute
        if compute.cluster is not None:
            return device_line(self.devices, compute.cpus_per_trial or 1)
        limit = self.slots[0].environment.get("OMP_NUM_THREADS")
        return device_line(self.devices, None if limit is None else int(limit))

    @property
    def devices(self) -> tuple[DeviceFacts, ...]:
        """The device of each slot, or of each node of a cluster."""
        if self.cluster is not None:
            return self.cluster.devices
        return self._slots_and_devices[1]

    @cached_property
    def _slots_and_devices(self) -> tuple[tuple[Slot, ...], tuple[DeviceFacts, ...]]:
        import torch  # noqa: PLC0415  # not for the controller of a cluster

        from harness.training.hardware.device_probe import resolve_devices  # noqa: PLC0415  # torch

        compute = self.options.compute
        assert compute.workers != "max", "without a cluster it is refused"
        # A notebook may have imported torch where a quota limits its processors.
        threads = min(torch.get_num_threads(), available_threads())
        workers = 1 if compute.workers == "auto" else compute.workers
        # Child processes probe the GPUs. A CUDA context in this process would take half a gigabyte
        # of GPU memory, and prevent a worker's own on a GPU in exclusive mode.
        slots = plan_slots(
            device=compute.device,
            gpus=compute.gpus,
            per_gpu=compute.per_gpu,
            workers=workers,
            visible=visible_gpus(torch.cuda.device_count()),
            threads=threads,
        )
        if compute.workers == "auto":  # only now: the options may exclude one another
            slots = plan_slots(workers=self._measured_workers(threads), threads=threads)
        return resolve_devices(slots)

    def _measured_workers(self, threads: int) -> int:
        from harness.training.loop.step_rate import measure_worker_count  # noqa: PLC0415  # torch

        self.progress.stage("--workers auto: timing the first steps with 1, 2, ... workers")
        config = self._drawn_config()
        parts = None if self.parts is None else self.parts.path
        n_workers, reason = measure_worker_count(config, self.config.data, parts, threads)
        self.progress.stage(reason)
        return n_workers

    def _drawn_config(self) -> TrialConfig:
        """A random configuration of the space that can be trained; the defaults if none is."""
        rng = random.Random(0)  # noqa: S311
        for _ in range(_MAX_DRAWS):
            values = self.definition.space.sample(rng)
            if (
                self.definition.space.refusal_reason(values) is None
                and self.networks.config_refusal(self.definition, _MANY_IMAGES, values) is None
            ):
                return self.definition.trial_config(values)
        return self.definition.trial_config({})

    def close(self) -> None:
        """End the process of the networks, and leave the cluster if the command has joined one."""
        # Values of cached properties; reading these would open what was not used.
        if (networks := self.__dict__.get("networks", self.opened_networks)) is not None:
            networks.close()
        if (cluster := self.__dict__.get("cluster")) is not None:
            cluster.close()

    @cached_property
    def device(self) -> "torch.device":
        """The one device of a command that trains or predicts in this process."""
        from harness.training.hardware.device import pick_device  # noqa: PLC0415  # imports torch

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
    if resolve is not None:
        return StudyContext(options, paths, parts, resolve(), progress)
    networks = _open_networks(options, parts)
    try:
        # Only now: --set and --objective may name a loss or a metric that the file registers.
        definition = resolve_options(options, paths, parts, networks)
    except BaseException:
        networks.close()
        raise
    return StudyContext(options, paths, parts, definition, progress, networks)


def _open_networks(options: RunOptions, parts: PartsFile | None) -> NetworkLibrary:
    if options.compute.cluster is not None:
        return NetworkProcess(parts)
    from harness.search.definition.network_checks import (  # noqa: PLC0415  # imports torch
        LocalNetworks,
    )

    return LocalNetworks()


def device_line(devices: Sequence[DeviceFacts], cpu_threads: int | None = None) -> str:
    """Describe the devices, each kind once, and on a CPU its threads.

    Args:
        cpu_threads: of each worker; None: those that torch uses here.
    """
    threads = ""
    if devices[0].device == "cpu":
        threads = f" ({count(cpu_threads or _own_threads(), 'thread')})"
    return " and ".join(dict.fromkeys(device.description for device in devices)) + threads


def _own_threads() -> int:
    import torch  # noqa: PLC0415  # not for the controller of a cluster

    return torch.get_num_threads()


def workers_line(slots: Sequence[Slot]) -> str:
    """Number of workers and their GPUs; "" for one worker."""
    if len(slots) == 1:
        return ""
    gpus = dict.fromkeys(
        slot.environment[VISIBLE_DEVICES] for slot in slots if VISIBLE_DEVICES in slot.environment
    )
    return f" · {count(len(slots), 'worker')}" + (f" on GPUs {', '.join(gpus)}" if gpus else "")
