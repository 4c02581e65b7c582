"""Inputs that a task needs on a node without this disk: images, split, weights, checkpoint."""

import hashlib
import json
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path

from harness.config.study import ModelConfig, needs_native_images
from harness.core.checkpoint_header import read_checkpoint_header
from harness.core.paths import StudyPaths, TrialPaths
from harness.core.records import read_record, read_records
from harness.data.datasets.sources import open_source
from harness.data.loading.image_cache import cache_key, open_cache
from harness.data.splits.splits import read_split
from harness.data.windows.native_store import open_store, store_key
from harness.execution.cluster.checkpoint_store import CheckpointStore
from harness.execution.cluster.file_transfer import TransferError, describe_file
from harness.execution.cluster.messages import (
    ContentFolder,
    FileEntry,
    FolderKind,
    SharedProbe,
    TaskInputs,
)
from harness.execution.cluster.staging import write_probe
from harness.execution.protocol import TrialTask

WeightFiles = Callable[[ModelConfig], tuple[Path, list[str]] | None]
_PROBE_PREFIX = ".shared-probe-"  # files that nodes read, to see whether they share this disk


def own_weight_files(model: ModelConfig) -> tuple[Path, list[str]] | None:
    """Files of a model's pretrained weights, found by the libraries in this process."""
    from harness.search.definition.network_checks import (  # noqa: PLC0415  # imports torch
        LocalNetworks,
    )

    return LocalNetworks().weight_files(model)


class TaskInputBuilder:
    """Collects the inputs of a study's tasks; each content is hashed once in its life.

    Any thread may call it. It writes two small probe files, into the study and beside the caches.

    Args:
        paths: of the study.
        study_id: of the study, see `StudyConfig.id`.
        cache: folder of the caches of decoded images.
        store: holds the checkpoints of `--scratch`; those of trials that have ended are removed.
        uses_weights: tasks may need pretrained weights.
        weight_files: cache of pretrained weights and the paths in it that a model needs, or None.
    """

    def __init__(
        self,
        paths: StudyPaths,
        study_id: str,
        cache: Path,
        store: CheckpointStore | None = None,
        *,
        uses_weights: bool = False,
        weight_files: WeightFiles = own_weight_files,
    ) -> None:
        self.uses_weights = uses_weights
        self._paths, self._study_id, self._store = paths, study_id, store
        self._weight_files = weight_files
        # By study: several controllers of one workspace share the folder of caches.
        probe_name = f"{_PROBE_PREFIX}{study_id}"
        self._study_probe = write_probe(paths.study.root / probe_name)
        self._cache_probe = write_probe(cache / probe_name)
        self._folders: dict[tuple[Path, str], ContentFolder] = {}
        self._lock = threading.Lock()

    @property
    def study(self) -> Path:
        """Folder of the study."""
        return self._paths.root

    def build(self, task: TrialTask) -> TaskInputs:
        """Collect the inputs of a task; decodes its images if no earlier trial has done so.

        Raises:
            DataError: an image cannot be used; the disk is full.
            WeightsError: pretrained weights are not in the local cache.
        """
        trial = TrialPaths(task.trial_dir)
        self._remove_stored_checkpoints({"complete", "pruned"})
        with self._lock:
            folders = [self._cache_folder(task), self._study_folder(task)]
            if needs_native_images(task.config, task.data):
                folders.append(self._store_folder(task))
            if (weights := self._weight_files(task.config.model)) is not None:
                folders.append(self._weights_folder(*weights))
        return TaskInputs(
            task=task,
            study_id=self._study_id,
            folders=tuple(folders),
            files=tuple(_resumable_files(trial)),
            record=trial.trial_json.read_text(encoding="utf-8"),
            shared_probe=self._study_probe,
        )

    def close(self) -> None:
        """Remove the probe files, and the stored checkpoints that nothing continues from."""
        for probe in (self._study_probe, self._cache_probe):
            probe.path.unlink(missing_ok=True)
        is_complete = all(record.state != "running" for record in read_records(self._paths))
        failed = {"failed"} if is_complete else set()  # its cause may be repaired until then
        self._remove_stored_checkpoints({"complete", "pruned"} | failed)

    def _remove_stored_checkpoints(self, states: set[str]) -> None:
        """Remove the stored checkpoints of trials in these states, as the study removes its own."""
        if self._store is None:
            return
        with suppress(TransferError):  # tried again before the next task
            for number in self._store.trial_numbers():
                record = self._paths.trial(number).trial_json
                if record.exists() and read_record(record).state in states:
                    self._store.remove(number)

    def _cache_folder(self, task: TrialTask) -> ContentFolder:
        rows = read_split(task.split_csv)
        size, fit = task.config.data.height_width, task.config.data.whole_fit
        return self._decoded_folder(
            task,
            cache_key(rows, task.data, size, fit),
            partial(open_cache, rows=rows, data=task.data, size=size, fit=fit),
        )

    def _store_folder(self, task: TrialTask) -> ContentFolder:
        rows = read_split(task.split_csv)
        return self._decoded_folder(
            task,
            store_key(rows, task.data),
            partial(open_store, rows=rows, data=task.data),
        )

    def _decoded_folder(
        self, task: TrialTask, key: str, build: Callable[..., object]
    ) -> ContentFolder:
        """A folder of decoded images, which `build` makes if it is absent."""
        root = task.cache / key
        if (root, key) not in self._folders or not root.is_dir():
            build(open_source(task.data_root), folder=task.cache, max_pixels=task.max_pixels)
            entries = _describe_tree(root, root)
            self._folders[root, key] = ContentFolder(
                key=key, kind="cache", root=root, files=tuple(entries), probe=self._cache_probe
            )
        return self._folders[root, key]

    def _study_folder(self, task: TrialTask) -> ContentFolder:
        """Split, augmentation steps and user-defined parts: small, so they are hashed each time."""
        root = task.augments.parent
        paths = [task.split_csv] + ([] if task.parts is None else [task.parts])
        entries = [describe_file(root, path.relative_to(root).as_posix()) for path in paths]
        entries += _describe_tree(task.augments, root)
        return _content_folder("study", root, entries, self._study_probe)

    def _weights_folder(self, hub: Path, paths: list[str]) -> ContentFolder:
        memo_key = (hub, " ".join(paths))
        if memo_key not in self._folders:
            entries = [describe_file(hub, path) for path in paths]
            self._folders[memo_key] = _content_folder("weights", hub, entries, None)
        return self._folders[memo_key]


def _content_folder(
    kind: FolderKind, root: Path, entries: Iterable[FileEntry], probe: SharedProbe | None
) -> ContentFolder:
    files = tuple(sorted(entries, key=lambda entry: entry.path))
    text = json.dumps([entry.model_dump() for entry in files])
    key = hashlib.sha256(text.encode()).hexdigest()[:32]
    return ContentFolder(key=key, kind=kind, root=root, files=files, probe=probe)


def _describe_tree(folder: Path, root: Path) -> list[FileEntry]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return [describe_file(root, path.relative_to(root).as_posix()) for path in paths]


def _resumable_files(trial: TrialPaths) -> list[FileEntry]:
    """The log, and the newest intact checkpoint, under its own name.

    One checkpoint is enough: it is not damaged, and arrives as it is. It would be the larger part
    of all that is sent.
    """
    if not trial.epochs_jsonl.is_file():
        return []
    checkpoints = (trial.checkpoint, trial.checkpoint_previous)
    newest = next((path for path in checkpoints if _is_intact(path)), None)
    # The log alone, too: the checkpoint may lie in a store.
    paths = [trial.epochs_jsonl] if newest is None else [trial.epochs_jsonl, newest]
    return [describe_file(trial.root, path.name) for path in paths]


def _is_intact(checkpoint: Path) -> bool:
    if not checkpoint.is_file():
        return False
    with checkpoint.open("rb") as handle:
        header = read_checkpoint_header(handle)
        return (
            header is not None
            and hashlib.file_digest(handle, "sha256").hexdigest() == header["sha256"]
        )
