"""A study of random networks that were never trained, in a moment; its rule is frozen by hand."""

import uuid
from pathlib import Path
from typing import Any

import torch

from harness.api.study import Study, open_study
from harness.config.data import StudyDataConfig
from harness.config.decision_rule import ClassDecision, DecisionRule
from harness.config.study import StudyConfig, TrialConfig
from harness.core import strict_yaml
from harness.core.paths import StudyPaths, Workspace
from harness.core.records import TrialRecord, write_record
from harness.data.datasets.sources import open_dataset
from harness.data.files.source import hash_files
from harness.data.splits.split_file import SplitRow, write_split
from harness.evaluation.decision.frozen_rule import FrozenRule, rule_path
from harness.evaluation.held_out.weights import select_weights
from harness.models.build import build_network
from harness.models.serialization import save_network

NETWORK = {
    "model.arch": "Unet",
    "model.encoder_name": "mobilenet_v2",
    "model.encoder_weights": None,
    "model.encoder_depth": 3,
    "data.image_size": 32,
    "train.batch_size": 4,
}


def made_study(
    workspace: Path,
    *,
    data: dict[str, Any] | None = None,
    n_trials: int = 1,
    threshold: float | None = 0.5,
    **settings: Any,
) -> Study:
    """A study `made` with trials of rising loss; trial 0 leads."""
    config = StudyConfig.from_mapping({"id": uuid.uuid4().hex, "data": data or {}}, source="made")
    paths = StudyPaths(Workspace.at(workspace).studies / "made")
    paths.root.mkdir(parents=True)
    text = strict_yaml.dump_yaml(config.model_dump(mode="json"))
    paths.study_yaml.write_text(text, encoding="utf-8")
    write_split(paths.split_csv, _rows(config.data))
    for number in range(n_trials):
        _write_trial(paths, number, TrialConfig.from_flat({**NETWORK, **settings}), config.data)
    for tta in (False, True):
        _freeze(paths, config.data, threshold, tta=tta)
    return open_study("made", workspace=workspace)


def _rows(data: StudyDataConfig) -> list[SplitRow]:
    """The first half of the images validates, if the data set exists."""
    root = Path(data.root)
    if not root.is_dir():
        names = [("images/a.png", "masks/a.png", "0" * 64, "1" * 64)]
        names += [("images/b.png", "masks/b.png", "2" * 64, "3" * 64)]
    else:
        dataset = open_dataset(root, data, max_pixels=1e6)
        names = [
            (
                pair.image.as_posix(),
                "|".join(mask.as_posix() for mask in pair.masks),
                hash_files(dataset.source, [pair.image]),
                hash_files(dataset.source, pair.masks),
            )
            for pair in dataset.pairs
        ]
    roles = ["val" if k < len(names) // 2 else "train" for k in range(len(names))]
    return [
        SplitRow(k, image, mask, role, image, first, second)  # type: ignore[arg-type]
        for k, ((image, mask, first, second), role) in enumerate(zip(names, roles, strict=True))
    ]


def _write_trial(
    paths: StudyPaths, number: int, config: TrialConfig, data: StudyDataConfig
) -> None:
    trial = paths.trial(number)
    trial.model.mkdir(parents=True)
    torch.manual_seed(number)
    network = build_network(
        config.model, classes=data.n_outputs, in_channels=data.channels, pretrained=False
    )
    save_network(network.eval(), trial.model)
    flat = strict_yaml.dump_yaml(config.model_dump(mode="json"))
    trial.config_yaml.write_text(flat, encoding="utf-8")
    record = TrialRecord(
        study=paths.name,
        number=number,
        state="complete",
        params={},
        distributions={},
        epochs=1,
        seed=number,
        value=0.1 + number / 10,
        best_epoch=1,
    )
    write_record(trial, record)


def _freeze(
    paths: StudyPaths, data: StudyDataConfig, threshold: float | None, *, tta: bool
) -> None:
    """Freeze the rule of trial 0, so that no validation image is needed."""
    hashes = {member.label: member.sha256 for member in select_weights(paths, 0)}
    entry = ClassDecision(threshold=None if data.task == "multiclass" else threshold)
    rule = DecisionRule(task=data.task, classes=tuple(entry for _ in data.scored_classes))
    path = rule_path(paths, hashes, tta=tta)
    path.parent.mkdir(exist_ok=True)
    frozen = FrozenRule(rule=rule, weights=hashes, tta=tta, n_images=2)
    path.write_text(frozen.model_dump_json(), encoding="utf-8")
