"""Studies whose one trial holds a network that was not trained, of any task, bits and fit."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import tifffile
import torch
from numpy.typing import NDArray
from torch import nn

from harness.config.decision_rule import ClassDecision, DecisionRule
from harness.config.progress import LineProgress
from harness.config.study import StudyConfig, TrialConfig
from harness.core import files, strict_yaml
from harness.core.paths import Workspace
from harness.data.splits.splits import Role, SplitRow, write_split
from harness.deploy.deployment import Deployment, DeploymentRequest, open_deployment
from harness.evaluation.decision.frozen_rule import FrozenRule
from harness.models.build import build_network
from harness.models.serialization import save_network
from harness.search.definition.options import RunOptions
from tests.report.studies import Builder

Task = Literal["binary", "multiclass", "multilabel"]
CLASSES = {
    "binary": ("background", "foreground"),
    "multiclass": ("ground", "water", "roof"),
    "multilabel": ("round", "bright"),
}
SIZES = ((17, 31), (64, 64), (45, 200), (333, 250), (4100, 20))  # height, width


@dataclass
class NetworkStudy:
    """A study of six images in a workspace, and its trial 0 with random weights."""

    root: Path
    task: Task = "binary"
    bits: int = 8
    channels: int = 3
    params: dict[str, Any] = field(default_factory=dict)
    n_images: int = 6

    def __post_init__(self) -> None:
        self.workspace, self.paths = Workspace.at(self.root), Workspace.at(self.root).study("net")
        self.fixed = {"data.image_size": 64, "train.epochs": 1, "train.batch_size": 4, **SMALL}
        self.fixed |= self.params
        config = StudyConfig.from_mapping(
            {
                "id": "1" * 32,
                "data": {
                    "root": "shapes",
                    "task": self.task,
                    "classes": list(CLASSES[self.task]),
                    "channels": self.channels,
                    "range": [0, 4095] if self.bits == 16 else [0, 255],
                    "eval_size": 64,
                },
                "fixed": self.fixed,
            }
        )
        text = strict_yaml.dump_yaml(config.model_dump(mode="json"))
        files.write_text(self.paths.study_yaml, text)
        self.data = config.data
        write_split(self.paths.split_csv, [self._row(row) for row in range(self.n_images)])
        self._write_trial()

    @cached_property
    def deployment(self) -> Deployment:
        """Trial 0 with a rule that has a step of each kind."""
        options = RunOptions.from_arguments(
            {"study": "net", "workspace": self.root, "device": "cpu"}
        )
        opened = open_deployment(options, DeploymentRequest(trial=0), LineProgress())
        return Deployment(
            opened.context, opened.weights, False, self._rule(opened.rule), opened.reason
        )

    def image(self, size: tuple[int, int], seed: int = 0) -> NDArray[Any]:
        """Smooth noise of the bits and channels of the study."""
        rng = np.random.default_rng(seed)
        high = 4095 if self.bits == 16 else 255
        noise = rng.random((*size, self.channels), np.float32)
        smooth = cv2.GaussianBlur(noise, (0, 0), 2).reshape(*size, self.channels)
        scaled = (smooth - smooth.min()) / max(float(np.ptp(smooth)), 1e-6) * high
        return scaled.astype(np.uint16 if self.bits == 16 else np.uint8)

    def _rule(self, frozen: FrozenRule) -> FrozenRule:
        thresholds = [None] if self.task == "multiclass" else [0.5, 0.45]
        steps = [
            {"fill_holes": True, "min_size": 4},
            {"largest_only": True},
            {"min_size": 9},
        ]
        entries = tuple(
            ClassDecision(threshold=thresholds[k % len(thresholds)], **steps[k])
            for k in range(len(self.data.scored_classes))
        )
        rule = DecisionRule(task=self.task, classes=entries)
        return frozen.model_copy(update={"rule": rule})

    def _row(self, row: int) -> SplitRow:
        size = (160 + 20 * row, 300 - 15 * row)
        root = self.root / "data" / "shapes"
        image = self.image(size, seed=row)
        masks = self._masks(image)
        suffix = ".png" if self.channels in (1, 3) else ".tif"
        names = [f"images/{row}{suffix}", *(f"masks/{row}-{k}.png" for k in range(len(masks)))]
        for name, plane in zip(names, [image[..., ::-1], *masks], strict=True):
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".tif":
                tifffile.imwrite(
                    path, plane[..., ::-1], photometric="minisblack", planarconfig="contig"
                )
            else:
                assert cv2.imwrite(str(path), plane)
        hashes = [files.file_sha256(root / name) for name in names]
        role: Role = "train" if row == 0 else "test" if row == self.n_images - 1 else "val"
        mask_hash = files.combine_sha256(hashes[1:])
        return SplitRow(row, names[0], "|".join(names[1:]), role, f"g{row}", hashes[0], mask_hash)

    def _masks(self, image: NDArray[Any]) -> list[NDArray[np.uint8]]:
        bright = image[..., 0] > (2100 if self.bits == 16 else 130)
        disc = cv2.circle(np.zeros(image.shape[:2], np.uint8), (80, 70), 40, 1, -1)
        if self.task == "multiclass":
            return [np.where(disc == 1, 2, bright).astype(np.uint8)]
        planes = [disc * np.uint8(255), bright * np.uint8(255)]
        return planes if self.task == "multilabel" else planes[:1]

    def _write_trial(self) -> None:
        Builder.trial(self, 0, [0.5], {})  # type: ignore[arg-type]  # needs name and paths alone
        config, trial = TrialConfig.from_flat(self.fixed), self.paths.trial(0)
        files.write_text(trial.config_yaml, strict_yaml.dump_yaml(config.model_dump(mode="json")))
        torch.manual_seed(0)
        network = build_network(
            config.model,
            classes=self.data.n_outputs,
            in_channels=self.channels,
            image_size=config.data.height_width,
        )
        settle(network, torch.randn(4, self.channels, *config.data.height_width))
        trial.model.mkdir(parents=True)
        save_network(network, trial.model)

    @property
    def name(self) -> str:
        return self.paths.name


SMALL: dict[str, Any] = {
    "model.arch": "Unet",
    "model.encoder_name": "resnet18",
    "model.encoder_weights": None,
    "model.encoder_depth": 5,
}


def settle(network: nn.Module, batch: torch.Tensor) -> None:
    """Give random weights the statistics and the spread of outputs that training gives.

    Fresh running statistics would let the activations vanish or explode over the depth.
    """
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        network.train()(batch)
        logits = network.eval()(batch)
        heads = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
        head = next(m for m in reversed(heads) if m.out_channels == logits.shape[1])
        scale = 2 / logits.std().clamp_min(1e-6)
        head.weight *= scale
        if head.bias is not None:
            head.bias *= scale
            head.bias -= scale * logits.median(dim=0).values.median()
