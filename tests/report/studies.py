"""Small studies on disk, as a controller and its workers leave them."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)

from harness.config.study import StudyConfig, TrialConfig
from harness.core import files, strict_yaml
from harness.core.paths import StudyPaths
from harness.core.records import TrialFailure, TrialRecord, write_record
from harness.data.files.resize import resize_truth
from harness.data.splits.splits import Role, SplitRow, write_split
from harness.report.tables.study_tables import StudyTables, load_study_tables
from harness.training.metrics.image_scores import ScoreEntry, scores_from_entries, write_scores

DISTRIBUTIONS: dict[str, BaseDistribution] = {
    "model.arch": CategoricalDistribution(["Unet", "Linknet", "FPN"]),
    "model.encoder_name": CategoricalDistribution(["mobilenet_v2", "resnet18"]),
    "model.encoder_depth": IntDistribution(3, 5),
    "model.options.decoder_attention_type": CategoricalDistribution([None, "scse"]),
    "optim.lr": FloatDistribution(1e-5, 1e-2, log=True),
    "loss.dice": FloatDistribution(0.0, 1.0),
    "loss.bce": FloatDistribution(0.0, 1.0),
}
EVAL_SIZE = 32
FIXED = {"train.epochs": 4, "data.image_size": 32}


@dataclass
class Builder:
    """One study in `<root>/studies/<name>` and its images in `<root>/data/tiny`."""

    root: Path
    name: str = "tiny"
    config: dict[str, Any] = field(default_factory=dict)
    n_images: int = 10
    eval_size: int = EVAL_SIZE

    def __post_init__(self) -> None:
        self.paths = StudyPaths(self.root / "studies" / self.name)
        self.data_root = self.root / "data" / "tiny"
        values = {
            "id": "0" * 32,
            "question": "Which encoder earns its memory?",
            "data": {"root": "tiny", "eval_size": self.eval_size},
            "fixed": FIXED,
            "budget": {"trials": 8, "keep": 5},
        }
        config = StudyConfig.from_mapping(values | self.config)
        files.write_text(
            self.paths.study_yaml, strict_yaml.dump_yaml(config.model_dump(mode="json"))
        )
        files.write_text(self.paths.space_yaml, "parameters: {}\nfixed:\n  train.epochs: 4\n")
        self.rows = [self._image(row) for row in range(self.n_images)]
        write_split(self.paths.split_csv, self.rows)

    def _image(self, row: int) -> SplitRow:
        """A disc of its own size on a dark field; row 0 trains, the last is test, others val."""
        height, width = 40, 50
        mask = np.zeros((height, width), np.uint8)
        cv2.ellipse(mask, (12 + 3 * (row % 8), 20), (4 + row, 3 + row // 2), 0, 0, 360, 255, -1)
        noise = np.random.default_rng(row).integers(0, 60, (height, width, 3), dtype=np.uint8)
        image = noise + (mask // 3)[..., None]
        role: Role = "train" if row == 0 else "test" if row == self.n_images - 1 else "val"
        names = (f"images/p{row:02d}.png", f"masks/p{row:02d}.png")
        for name, picture in zip(names, (image, mask), strict=True):
            path = self.data_root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), picture)
        hashes = [files.file_sha256(self.data_root / name) for name in names]
        return SplitRow(row, *names, role, f"g{row}", *hashes)

    def trial(
        self,
        number: int,
        losses: list[float],
        params: dict[str, Any] | None = None,
        *,
        state: str = "complete",
        skill: float | None = None,
        failure: TrialFailure | None = None,
        planned: int = 4,
        **more: Any,
    ) -> TrialRecord:
        """A trial with `val/dice_loss` per epoch; with `skill` (0 to 1) it kept predictions."""
        paths = self.paths.trial(number)
        params = params or {}
        lines = [
            {"epoch": i, "time_ms": 1_790_000_000_000 + i, "seconds": 0.5}
            | {"train/loss": loss + 0.1, "val/dice_loss": loss, "val/dice": 1 - loss}
            for i, loss in enumerate(losses, start=1)
        ]
        log = "".join(json.dumps(line) + "\n" for line in lines)
        files.write_text(paths.epochs_jsonl, log)
        best = min(range(len(losses)), key=losses.__getitem__) if losses else None
        found = {} if best is None else {"best/dice_loss": losses[best]}
        if best is not None:
            found |= {"best/dice": 1 - losses[best], "best/iou": (1 - losses[best]) / 2}
        values: dict[str, Any] = {
            "study": self.name,
            "number": number,
            "state": state,
            "params": params,
            "distributions": {
                key: json.loads(distribution_to_json(DISTRIBUTIONS[key]))
                for key in params
                if key in DISTRIBUTIONS
            },
            "epochs": planned,
            "seed": 100 + number,
            "value": None if best is None else losses[best],
            "best_epoch": None if best is None else best + 1,
            "best": found,
            "costs": {
                "cost/parameters": 1e6 * (number + 1),
                "cost/gflops": 0.25 * (number + 1),
                "cost/seconds": 0.5 * len(losses),
                "cost/peak_mb": 512.0,
                "cost/ms_per_image": 3.5,
            },
            "device": "cpu",
            "precision": "fp32",
            "versions": {"torch": "2.15.0", "harness": "0.1.0"},
            "failure": failure,
        }
        record = TrialRecord.model_validate(values | more)
        write_record(paths, record)
        config = TrialConfig.from_flat(FIXED | params)
        files.write_text(paths.config_yaml, strict_yaml.dump_yaml(config.model_dump(mode="json")))
        if skill is not None:
            self._predict(number, skill)
        return record

    def _predict(self, number: int, skill: float) -> None:
        """Probabilities between the truth (skill 1) and noise, with the sums that follow."""
        paths = self.paths.trial(number)
        paths.probabilities.mkdir(parents=True, exist_ok=True)
        entries: list[ScoreEntry] = []
        for row in self.rows:
            if row.role != "val":
                continue
            grey = cv2.imread(str(self.data_root / row.mask), cv2.IMREAD_GRAYSCALE)
            assert grey is not None
            truth = resize_truth((grey > 127).astype(np.uint8), self.eval_size)
            p = predicted(truth, skill, seed=1000 * number + row.row)
            cv2.imwrite(str(paths.probability(row.row, 1)), np.rint(255 * p).astype(np.uint8))
            said, y = p >= 0.5, truth.astype(bool)
            sums = (float((p * y).sum()), float(p.sum()), float(y.sum()))
            tp, fp = int((said & y).sum()), int((said & ~y).sum())
            fn, tn = int((~said & y).sum()), int((~said & ~y).sum())
            entries.append((row.row, row.image, 1, *sums, tp, fp, fn, tn))
        write_scores(paths.scores_csv, scores_from_entries(entries))


def predicted(truth: NDArray[np.uint8], skill: float, seed: int) -> NDArray[np.float64]:
    """A probability map (H, W): the truth, moved and blurred the more the lower the skill."""
    rng = np.random.default_rng(seed)
    reach = (1 - skill) * truth.shape[0] / 3
    moved = np.roll(truth, tuple(rng.integers(-1, 2, 2) * round(reach)), axis=(0, 1))
    soft = cv2.GaussianBlur(moved.astype(np.float64), (0, 0), 0.5 + reach / 3)
    return np.clip(soft, 0.0, 1.0)


def a_study(root: Path, name: str = "tiny") -> Builder:
    """Eight trials: five complete, two pruned, one failed; the best is number 3."""
    study = Builder(root, name)
    rows = [
        ("Unet", "mobilenet_v2", 5, 1e-3, [0.6, 0.5, 0.4, 0.42], "complete", 0.5),
        ("Linknet", "resnet18", 4, 3e-4, [0.7, 0.6, 0.55, 0.5], "complete", 0.4),
        ("FPN", "resnet18", 3, 1e-5, [0.9, 0.89], "pruned", None),
        ("Unet", "resnet18", 5, 2e-3, [0.5, 0.3, 0.2, 0.1234567890123456], "complete", 0.9),
        ("Linknet", "mobilenet_v2", 3, 5e-3, [0.6, 0.4, 0.3, 0.25], "complete", 0.7),
        ("FPN", "mobilenet_v2", 4, 9e-3, [0.95], "failed", None),
        ("Unet", "mobilenet_v2", 4, 6e-4, [0.65, 0.45, 0.35, 0.3], "complete", 0.6),
        ("Linknet", "resnet18", 5, 2e-5, [0.92], "pruned", None),
    ]
    for number, (arch, encoder, depth, rate, losses, state, skill) in enumerate(rows):
        params: dict[str, Any] = {
            "model.arch": arch,
            "model.encoder_name": encoder,
            "model.encoder_depth": depth,
            "optim.lr": rate,
        }
        if arch == "Unet":
            params["model.options.decoder_attention_type"] = "scse" if number == 3 else None
        failure = (
            TrialFailure(cause="diverged", message="train/loss is nan")
            if state == "failed"
            else None
        )
        study.trial(number, losses, params, state=state, skill=skill, failure=failure)
    return study


def with_values(study: Builder, values: list[float], **more: Any) -> StudyTables:
    """Complete trials whose last epoch is their best; each a configuration of its own."""
    for number, value in enumerate(values):
        params = {"optim.lr": 1e-3 + number * 1e-6}
        study.trial(number, [0.9, 0.8, 0.7, value], params, **more)
    return load_study_tables(study.paths)


def repeated(study: Builder, start: int, values: list[float]) -> None:
    """One configuration on several seeds: what the noise is told from."""
    for number, value in enumerate(values, start=start):
        repeats = None if number == start else start
        study.trial(number, [0.9, value], {"optim.lr": 9e-3}, repeats=repeats)
