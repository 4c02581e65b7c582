"""Bring a task to a node: fetch what is not shared, and rewrite the paths of the task."""

import secrets
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.core import files
from harness.core.checkpoint_header import checkpoint_epoch
from harness.core.paths import TrialPaths
from harness.execution.cluster.checkpoint_budget import updated_rate
from harness.execution.cluster.checkpoint_store import CheckpointStore
from harness.execution.cluster.file_transfer import ControllerLink, fetch_file
from harness.execution.cluster.messages import ContentFolder, SharedProbe, TaskInputs
from harness.execution.cluster.node_scratch import NodeScratch
from harness.execution.protocol import TrialTask

_WEIGHTS_VARIABLE = "HF_HUB_CACHE"  # read by huggingface_hub when a worker imports it


@dataclass(frozen=True)
class StagedTask:
    """A task that the worker of this node can train.

    Attributes:
        task: with paths of this node.
        environment: variables that the worker needs to find pretrained weights.
        is_shared: the trial's folder is the controller's own, so that nothing has to be sent.
        link_rate: bytes per second of the fetched files; None: too little was fetched to tell.
        n_bytes: fetched.
    """

    task: TrialTask
    environment: Mapping[str, str]
    is_shared: bool
    link_rate: float | None
    n_bytes: int


class TaskStager:
    """Brings the inputs of tasks to a node.

    Args:
        scratch: folders of this node.
        link: reads from the controller's disk.
        store: holds the checkpoints, if they do not cross the link.
    """

    def __init__(
        self, scratch: NodeScratch, link: ControllerLink, store: CheckpointStore | None = None
    ) -> None:
        self._scratch, self._link, self._store = scratch, link, store
        self._n_bytes = 0

    def own_environment(self, uses_weights: bool) -> dict[str, str]:
        """Environment of a worker whose inputs are all fetched, before they are known."""
        return {_WEIGHTS_VARIABLE: str(self._scratch.hub)} if uses_weights else {}

    def stage(self, inputs: TaskInputs) -> StagedTask:
        """Fetch what a task needs and this node has not.

        Raises:
            TransferError: the link fails.
            OSError: the disk of this node is full.
        """
        task, self._n_bytes = inputs.task, 0
        started = time.monotonic()
        is_shared = shares_disk(inputs.shared_probe)
        update: dict[str, object] = {}
        environment: dict[str, str] = {}
        for folder in inputs.folders:
            local = self._locate(folder, is_shared)
            if folder.kind == "cache":
                update["cache"] = local.parent
            elif folder.kind == "weights":
                environment[_WEIGHTS_VARIABLE] = str(local)
            elif local != folder.root:
                update |= _study_paths(task, folder.root, local)
        if not is_shared:
            update["trial_dir"] = self._stage_trial(inputs)
        return StagedTask(
            task=task.model_copy(update=update),
            environment=environment,
            is_shared=is_shared,
            link_rate=updated_rate(None, self._n_bytes, time.monotonic() - started),
            n_bytes=self._n_bytes,
        )

    def _locate(self, folder: ContentFolder, is_shared: bool) -> Path:
        """Path of a folder on this node: its own where the disk is shared, else a copy."""
        if shares_disk(folder.probe):
            return folder.root
        # No probe is written into a cache of other programs; its files are compared instead.
        if is_shared and folder.probe is None and self._scratch.has_files(folder.root, folder):
            return folder.root
        return self._scratch.fetch_folder(folder, self._link, self._count)

    def _stage_trial(self, inputs: TaskInputs) -> Path:
        folder = self._scratch.trial_dir(inputs.task.number)
        files.write_text(TrialPaths(folder).trial_json, inputs.record)
        for entry in inputs.files:
            fetch_file(self._link, inputs.trial_key, entry, folder / entry.path)
            self._count(entry.size)
        if self._store is not None:
            self._restore_checkpoint(self._store, TrialPaths(folder))
        return folder

    def _restore_checkpoint(self, store: CheckpointStore, trial: TrialPaths) -> None:
        """Take the store's checkpoint, unless a run without it has come further."""
        stored = TrialPaths(trial.root / ".stored")
        if store.restore(trial.number, stored.checkpoint):
            if checkpoint_epoch(stored) >= checkpoint_epoch(trial):
                stored.checkpoint.replace(trial.checkpoint)
            shutil.rmtree(stored.root)

    def _count(self, n_bytes: int) -> None:
        self._n_bytes += n_bytes


def write_probe(path: Path) -> SharedProbe:
    """Write a file of random content, which tells a node whether it shares this disk."""
    token = secrets.token_hex(32)
    files.write_text(path, token)
    return SharedProbe(path=path, token=token)


def shares_disk(probe: SharedProbe | None) -> bool:
    """True if this machine reads the same content under the probe's path.

    The path alone proves nothing: many nodes have a folder of the same name on their own disks.
    """
    if probe is None:
        return False
    try:
        with probe.path.open("rb") as handle:
            return handle.read(len(probe.token) + 1) == probe.token.encode("ascii")
    except OSError:
        return False


def _study_paths(task: TrialTask, root: Path, local: Path) -> dict[str, object]:
    """Paths of the task below a copy of its study's folder."""
    return {
        "split_csv": local / task.split_csv.relative_to(root),
        "augments": local / task.augments.relative_to(root),
        "parts": None if task.parts is None else local / task.parts.relative_to(root),
    }
