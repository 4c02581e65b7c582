import hashlib
import io
import shutil
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from harness.core.errors import WeightsError
from harness.core.paths import Workspace
from harness.core.records import read_record, write_record
from harness.execution.cluster.checkpoint_store import CheckpointStore
from harness.execution.cluster.file_transfer import TransferError
from harness.execution.cluster.messages import FileEntry, TaskInputs
from harness.execution.cluster.node_scratch import NodeScratch
from harness.execution.cluster.staging import TaskStager, shares_disk
from harness.models.weights import HubFile, cached_repository_files
from harness.search.run.cluster_inputs import TaskInputBuilder
from tests.execution.cluster.links import FaultyLink
from tests.execution.cluster.nodes import STUDY_ID, TinyStudy, far_away

ENCODER = {"model__encoder_weights": "imagenet"}


@pytest.fixture
def study(tmp_path: Path, polyps: Path) -> TinyStudy:
    return TinyStudy(Workspace(tmp_path / "controller"), polyps)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of Hugging Face with blobs and links, as its client writes it."""
    root = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(root))
    return root


def put_weights(hub: Path, encoder: str = "mobilenet_v2", weights: str = "imagenet") -> None:
    from segmentation_models_pytorch.encoders import encoders

    source = encoders[encoder]["pretrained_settings"][weights]
    repository = hub / f"models--{source['repo_id'].replace('/', '--')}"
    for name, content in (("model.safetensors", b"weights"), ("config.json", b"{}")):
        blob = repository / "blobs" / hashlib.sha256(content).hexdigest()
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(content)
        link = repository / "snapshots" / source["revision"] / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(blob)


def entry(path: str, content: bytes) -> FileEntry:
    return FileEntry(path=path, size=len(content), sha256=hashlib.sha256(content).hexdigest())


def stage(study: TinyStudy, inputs: TaskInputs, node: Path) -> tuple[Any, FaultyLink]:
    """Stage inputs on a node that sees none of the controller's paths."""
    link = FaultyLink(study.files)
    study.files.register(inputs)
    return stage_as_is(far_away(inputs), link, node), link


def stage_as_is(inputs: TaskInputs, link: FaultyLink, node: Path) -> Any:
    scratch = NodeScratch(node)
    scratch._lock.close()  # its folder stays, for the test to look at
    return TaskStager(scratch, link).stage(inputs)


def test_images_that_no_trial_has_decoded_are_decoded_here(study: TinyStudy) -> None:
    inputs = study.builder.build(study.task(0))
    cache = inputs.folder("cache")
    assert cache is not None and cache.root == study.workspace.cache / cache.key
    arrays = ["images", "masks", "truths"]
    names = ["boxes.npy", *(f"{name}.{kind}" for name in arrays for kind in ("chunks", "npy"))]
    assert [e.path for e in cache.files] == names
    for file in cache.files:
        assert file == entry(file.path, (cache.root / file.path).read_bytes())
    assert study.builder.build(study.task(1)).folder("cache") is cache, "hashed once"
    other = study.builder.build(study.task(2, data__image_size=64)).folder("cache")
    assert other is not None and other.key != cache.key


def test_cache_that_was_deleted_is_built_again(study: TinyStudy) -> None:
    cache = study.builder.build(study.task(0)).folder("cache")
    assert cache is not None
    shutil.rmtree(cache.root)
    assert study.builder.build(study.task(1)).folder("cache") == cache
    assert (cache.root / "images.npy").is_file()


def test_test_images_stay_at_home(study: TinyStudy, tmp_path: Path) -> None:
    staged, _ = stage(study, study.builder.build(study.task(0)), tmp_path / "node")
    names = {path.name for path in (tmp_path / "node").rglob("*") if path.is_file()}
    assert not [name for name in names if name.endswith((".png", ".jpg"))]
    assert staged.task.data_root == Path(f"/far-away{study.data_root}"), "nothing reads it"


def test_staged_task_has_all_paths_on_the_node(study: TinyStudy, tmp_path: Path) -> None:
    study.paths.augments.mkdir()
    (study.paths.augments / "mine.yaml").write_text("steps", encoding="utf-8")
    (study.paths.root / "parts.py").write_text("x = 1\n", encoding="utf-8")
    task = study.task(0).model_copy(update={"parts": study.paths.root / "parts.py"})
    staged, _ = stage(study, study.builder.build(task), tmp_path / "node")
    here = staged.task
    assert not staged.is_shared and staged.n_bytes > 24 * 32 * 32 * 3 * 0.8
    assert here.split_csv.read_bytes() == study.paths.split_csv.read_bytes()
    assert (here.augments / "mine.yaml").read_text(encoding="utf-8") == "steps"
    assert here.parts is not None and here.parts.read_text(encoding="utf-8") == "x = 1\n"
    record = (here.trial_dir / "trial.json").read_text(encoding="utf-8")
    assert record == study.trial(0).trial_json.read_text(encoding="utf-8")
    for path in (here.split_csv, here.augments, here.parts, here.trial_dir, here.cache):
        assert path.is_relative_to(tmp_path / "node")


def test_split_of_a_fold_keeps_its_folder(study: TinyStudy, tmp_path: Path) -> None:
    """A confirmation has its splits below `confirm/`, and the rest in the study's folder."""
    split = study.paths.confirm.root / "split-0.csv"
    split.parent.mkdir()
    shutil.copy(study.paths.split_csv, split)
    task = study.task(0).model_copy(update={"split_csv": split})
    staged, _ = stage(study, study.builder.build(task), tmp_path / "node")
    assert staged.task.split_csv.read_bytes() == split.read_bytes()


def test_second_task_fetches_what_is_new_alone(study: TinyStudy, tmp_path: Path) -> None:
    stage(study, study.builder.build(study.task(0)), tmp_path / "node")
    staged, link = stage(study, study.builder.build(study.task(1)), tmp_path / "node")
    assert (staged.n_bytes, link.n_reads) == (0, 0)


def test_nothing_is_fetched_from_a_shared_disk(study: TinyStudy, hub: Path, tmp_path: Path) -> None:
    put_weights(hub)
    inputs = study.builder.build(study.task(0, **ENCODER))
    link = FaultyLink(study.files)
    staged = stage_as_is(inputs, link, tmp_path / "node")
    assert staged.is_shared and staged.task == inputs.task and link.n_reads == 0
    assert staged.environment == {"HF_HUB_CACHE": str(hub)}


def test_same_path_on_another_disk_is_not_shared(study: TinyStudy) -> None:
    """A copy of the workspace on the node has the probe of an earlier run."""
    inputs = study.builder.build(study.task(0))
    probe = inputs.shared_probe
    assert probe is not None and shares_disk(probe)
    assert not shares_disk(probe.model_copy(update={"token": "0" * 64}))
    study.builder.close()
    assert not shares_disk(probe)
    assert not list(study.workspace.root.rglob(".shared-probe*"))


def test_weights_are_found_on_the_node(
    study: TinyStudy, hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_weights(hub)
    root, paths = cached_repository_files("mobilenet_v2")
    assert root == hub and all((hub / path).is_symlink() for path in paths)
    staged, _ = stage(study, study.builder.build(study.task(0, **ENCODER)), tmp_path / "node")
    far_hub = staged.environment["HF_HUB_CACHE"]
    assert Path(far_hub).is_relative_to(tmp_path / "node")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", far_hub)
    repository = next(path for path in paths if path.endswith("model.safetensors")).split("/")
    name = repository[0].removeprefix("models--").replace("--", "/")
    local = HubFile(name, "model.safetensors", repository[2]).cached_path()
    assert local is not None and local.read_bytes() == b"weights" and not local.is_symlink()


def test_branch_of_a_repository_comes_with_its_ref(
    hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weights of timm are those of `main`."""
    repository = hub / "models--timm--resnet18.a1_in1k"
    for path, text in (("snapshots/abc/model.safetensors", "w"), ("refs/main", "abc")):
        (repository / path).parent.mkdir(parents=True)
        (repository / path).write_text(text, encoding="ascii")
    assert cached_repository_files("tu-resnet18") == (
        hub,
        [f"{repository.name}/refs/main", f"{repository.name}/snapshots/abc/model.safetensors"],
    )


def test_missing_weights_are_an_error_before_the_task_is_sent(study: TinyStudy, hub: Path) -> None:
    with pytest.raises(WeightsError, match="not in the local Hugging Face cache"):
        study.builder.build(study.task(0, **ENCODER))


def checkpoint(content: bytes) -> bytes:
    digest = hashlib.sha256(content).hexdigest()
    return f'{{"epoch": 1, "sha256": "{digest}"}}\n'.encode() + content


def test_newest_intact_checkpoint_is_sent_with_the_log(study: TinyStudy) -> None:
    task, trial = study.task(0), study.trial(0)
    assert study.builder.build(task).files == ()
    trial.epochs_jsonl.write_bytes(b'{"epoch": 1}\n')
    assert [e.path for e in study.builder.build(task).files] == ["epochs.jsonl"]
    trial.checkpoint_previous.write_bytes(checkpoint(b"old"))
    trial.checkpoint.write_bytes(checkpoint(b"new"))
    names = [e.path for e in study.builder.build(task).files]
    assert names == ["epochs.jsonl", "checkpoint"]
    trial.checkpoint.write_bytes(checkpoint(b"new")[:-1])
    names = [e.path for e in study.builder.build(task).files]
    assert names == ["epochs.jsonl", "checkpoint.previous"]


def test_image_that_changes_on_the_way_is_noticed(
    study: TinyStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.execution.cluster.file_transfer.backoff_s", lambda _: 0.0)
    inputs = study.builder.build(study.task(0))
    cache = inputs.folder("cache")
    assert cache is not None
    path = cache.root / "images.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(TransferError, match="its hash is wrong"):
        stage(study, inputs, tmp_path / "node")


def test_stored_checkpoints_go_with_their_trials(study: TinyStudy, tmp_path: Path) -> None:
    store = CheckpointStore(str(tmp_path / "scratch"), STUDY_ID)
    builder = TaskInputBuilder(study.paths, STUDY_ID, study.workspace.cache, store)
    for number, state in enumerate(("complete", "failed", "running", "pruned")):
        study.task(number)
        record = read_record(study.trial(number).trial_json)
        write_record(study.trial(number), record.model_copy(update={"state": state}))
        store.save(number, 1, io.BytesIO(b"x"), 1)
    builder.build(study.task(4))
    assert store.trial_numbers() == [1, 2], "a running one is continued, a failed one may be"
    for number in (2, 4):
        record = read_record(study.trial(number).trial_json)
        write_record(study.trial(number), record.model_copy(update={"state": "complete"}))
    builder.close()
    assert store.trial_numbers() == []
