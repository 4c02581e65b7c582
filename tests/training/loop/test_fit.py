from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch

from harness.config.measurements import COSTS
from harness.config.study import ObjectiveConfig
from harness.core.errors import ConfigError, DataError
from harness.core.paths import TrialPaths
from harness.core.records import TrialResult, read_epochs
from harness.data.loading.image_cache import ImageCache
from harness.execution.protocol import Decision
from harness.training.loop.artifacts import overlay_indices
from harness.training.loop.checkpoint import CheckpointWriter
from harness.training.loop.errors import DivergedError
from harness.training.loop.fit import fit_trial
from harness.training.loop.gradients import BatchGradients
from harness.training.loop.setup import TrainingInputs
from harness.training.loop.trainer import Trainer
from harness.training.loop.training_run import StepCallback
from harness.training.metrics.image_scores import read_scores, summarise_scores
from tests.training.conftest import EVAL_SIZE, Pictures, settings

Line = dict[str, float]
LOSS = ObjectiveConfig()
MAYBE_UNKNOWN = {"cost/peak_mb", "cost/energy_wh"}  # which not every system tells
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def run(
    pictures: Pictures,
    folder: Path,
    answers: Callable[[Line], Decision] = lambda _: "continue",
    *,
    seed: int = 1,
    objective: ObjectiveConfig = LOSS,
    cache: ImageCache | None = None,
    halt: Callable[[], bool] = lambda: False,
    on_step: StepCallback | None = None,
    **changes: Any,
) -> TrialResult:
    config = settings(**changes)
    size, how = config.data.height_width, config.data.fit
    return fit_trial(
        TrainingInputs(
            config,
            pictures.cache(size=size, fit=how) if cache is None else cache,
            pictures.names,
            TrialPaths(folder),
            seed=seed,
            device=torch.device("cpu"),
            precision="fp32",
        ),
        objective=objective,
        on_epoch=answers,
        should_stop=halt,
        on_step=on_step,
    )


def answering(*answers: Decision) -> Callable[[Line], Decision]:
    """The answers one after another."""
    left = list(answers)
    return lambda _: left.pop(0)


def files_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def load(path: Path, flags: int = cv2.IMREAD_COLOR) -> Any:
    return cv2.imread(str(path), flags)


def recomputed_dice_loss(
    model: Path, pairs: Sequence[tuple[Path, Path]], size: int, batch_size: int
) -> float:
    """val/dice_loss from the image files, independent of the package."""
    network, dice = smp.from_pretrained(model).eval(), []
    for start in range(0, len(pairs), batch_size):
        batch, truths = [], []
        for image, mask in pairs[start : start + batch_size]:
            rgb: Any = cv2.cvtColor(load(image), cv2.COLOR_BGR2RGB)
            rgb = cv2.resize(rgb, (size, size), interpolation=cv2.INTER_AREA)
            batch.append(((rgb.astype(np.float32) / 255 - MEAN) / STD).transpose(2, 0, 1))
            y = (load(mask, cv2.IMREAD_GRAYSCALE) > 127).astype(np.float32)
            truths.append(cv2.resize(y, (EVAL_SIZE,) * 2, interpolation=cv2.INTER_AREA) >= 0.5)
        with torch.no_grad():
            logits = network(torch.tensor(np.stack(batch), dtype=torch.float32))
        p = torch.nn.functional.interpolate(logits, (EVAL_SIZE,) * 2, mode="bilinear").sigmoid()
        for q, y in zip(p[:, 0].double().numpy(), np.stack(truths), strict=True):
            if y.any():
                dice.append((2 * (q * y).sum() + 1) / (q.sum() + y.sum() + 1))
    return 1 - float(np.mean(dice))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"train__ema_decay": 0.8, "optim__name": "sgd", "optim__schedule": "onecycle"},
        {
            "model__arch": "FPN",
            "model__options": {"decoder_pyramid_channels": 16},
            "data__image_size": 40,
            "train__batch_size": 3,
        },
        {
            "model__arch": "DPT",
            "model__encoder_name": "tu-vit_tiny_patch16_224",
            "model__encoder_depth": 4,
            "model__options": {
                "decoder_fusion_channels": 8,
                "decoder_intermediate_channels": [8, 8, 8, 8],
            },
            "train__epochs": 1,
        },
    ],
)
def test_recorded_dice_loss_equals_an_independent_recomputation_at_any_batch_size(
    pictures: Pictures, tmp_path: Path, changes: dict[str, Any]
) -> None:
    result = run(pictures, tmp_path, **changes)
    pairs = [
        (pictures.root / row.image, pictures.root / row.mask)
        for row in pictures.rows
        if row.role == "val"
    ]
    size = settings(**changes).data.height_width[0]
    for batch_size in (1, 2, 3, len(pairs)):
        got = recomputed_dice_loss(TrialPaths(tmp_path).model, pairs, size, batch_size)
        assert got == pytest.approx(result.best["best/dice_loss"], abs=1e-6)


@pytest.mark.parametrize("normalize", ["imagenet", "per_image"])
def test_recorded_dice_loss_of_padded_images_is_that_of_their_content(
    pictures: Pictures, tmp_path: Path, normalize: str
) -> None:
    """One image at a time, the padding cut off by hand; per image it has no share in statistics."""
    result = run(
        pictures, tmp_path, data__fit="pad", data__image_size=48, data__normalize=normalize
    )
    network, dice = smp.from_pretrained(TrialPaths(tmp_path).model).eval(), []
    for row in (row for row in pictures.rows if row.role == "val"):
        rgb = load(pictures.root / row.image)[:, :, ::-1]
        scale = 48 / max(rgb.shape[:2])
        height, width = (round(side * scale) for side in rgb.shape[:2])
        down = height * width < rgb.shape[0] * rgb.shape[1]
        how = cv2.INTER_AREA if down else cv2.INTER_LINEAR
        content = cv2.resize(rgb, (width, height), interpolation=how) / 255
        if normalize == "imagenet":
            canvas = np.tile(-np.array(MEAN) / STD, (48, 48, 1))  # black
            canvas[:height, :width] = (content - MEAN) / STD
        else:
            canvas = np.zeros((48, 48, 3))
            canvas[:height, :width] = (content - content.mean((0, 1))) / content.std((0, 1))
        x = torch.tensor(canvas, dtype=torch.float32).permute(2, 0, 1)
        with torch.no_grad():
            logits = network(x[None])[:, :, :height, :width]
        p = torch.nn.functional.interpolate(logits, (EVAL_SIZE,) * 2, mode="bilinear").sigmoid()
        mask = (load(pictures.root / row.mask, cv2.IMREAD_GRAYSCALE) > 127).astype(np.float32)
        y = cv2.resize(mask, (EVAL_SIZE,) * 2, interpolation=cv2.INTER_AREA) >= 0.5
        q = p[0, 0].double().numpy()
        if y.any():
            dice.append((2 * (q * y).sum() + 1) / (q.sum() + y.sum() + 1))
    assert result.value == pytest.approx(1 - np.mean(dice), abs=1e-6)


@pytest.mark.parametrize(("fit", "augment"), [("pad", "light"), ("stretch", "strong")])
def test_training_sees_statistics_of_the_content_per_image(
    pictures: Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fit: str, augment: str
) -> None:
    """Mean 0 and deviation 1 over all that is not 0: padding and what augmentation fills in are."""
    seen: list[torch.Tensor] = []
    call = BatchGradients.__call__

    def noted(self: BatchGradients, inputs: torch.Tensor, target: torch.Tensor) -> Any:
        seen.extend(inputs)
        return call(self, inputs, target)

    monkeypatch.setattr(BatchGradients, "__call__", noted)
    run(
        pictures, tmp_path, train__epochs=1, data__fit=fit, data__augment=augment,
        data__normalize="per_image", data__image_size=48,
    )  # fmt: skip
    with_others = 0
    for image in seen:
        content = image.numpy()[:, (image != 0).any(0)].astype(np.float64)
        with_others += content.shape[1] < 48 * 48
        np.testing.assert_allclose(content.mean(1), 0, atol=1e-4)
        np.testing.assert_allclose(content.std(1), 1, atol=1e-3)
    assert len(seen) == 11 and with_others > 5


def test_complete_training_leaves_model_scores_probabilities_and_overlays(
    pictures: Pictures, tmp_path: Path
) -> None:
    seen: list[Line] = []
    result = run(pictures, tmp_path, lambda line: seen.append(line) or "continue")  # type: ignore[func-returns-value]
    cache = pictures.cache()
    val = cache.row_of[cache.val].tolist()
    drawn = cache.row_of[overlay_indices(cache)].tolist()
    assert files_in(tmp_path) == {
        "epochs.jsonl",
        "best/scores.csv",
        "best/model/README.md",
        "best/model/config.json",
        "best/model/model.safetensors",
        *(f"best/probabilities/{row}-1.png" for row in val),
        *(f"overlays/{epoch}-{row}.png" for epoch in (1, 2, 3) for row in drawn),
    }
    assert result.outcome == "complete"
    assert seen == read_epochs(TrialPaths(tmp_path)) and [line["epoch"] for line in seen] == [
        1,
        2,
        3,
    ]
    best = min(seen, key=lambda line: line["val/dice_loss"])
    assert (result.best_epoch, result.value) == (best["epoch"], best["val/dice_loss"])
    assert result.best == {
        key.replace("val/", "best/"): value for key, value in best.items() if "val/" in key
    }


def test_scores_and_probabilities_are_those_of_the_best_epoch(
    pictures: Pictures, tmp_path: Path
) -> None:
    """A rate that destroys the network after the first epoch."""
    result = run(
        pictures, tmp_path, optim__name="sgd", optim__lr=2.0, optim__schedule="constant",
        optim__grad_clip=None, optim__warmup_epochs=1.0, train__epochs=4,
    )  # fmt: skip
    paths = TrialPaths(tmp_path)
    scores = read_scores(paths.scores_csv)
    summary = summarise_scores(scores)
    assert {key.replace("val/", "best/"): value for key, value in summary.items()} == result.best
    assert scores.image == tuple(pictures.names[row] for row in scores.row.tolist())
    for row, tp, fp, sum_p in zip(scores.row, scores.tp, scores.fp, scores.sum_p, strict=True):
        stored = load(paths.probability(int(row), 1), cv2.IMREAD_UNCHANGED)
        assert (stored >= 128).sum() == tp + fp
        assert stored.sum() / 255 == pytest.approx(sum_p, abs=EVAL_SIZE**2 * 0.5 / 255)


def test_costs_are_measured(pictures: Pictures, tmp_path: Path) -> None:
    costs = run(pictures, tmp_path).costs
    assert set(costs) | MAYBE_UNKNOWN == set(COSTS)
    assert all(np.isfinite(value) and value > 0 for value in costs.values())
    log = read_epochs(TrialPaths(tmp_path))
    assert costs["cost/seconds"] == pytest.approx(sum(line["seconds"] for line in log))
    network = smp.from_pretrained(TrialPaths(tmp_path).model)
    assert costs["cost/parameters"] == sum(p.numel() for p in network.parameters())


def test_pruned_training_leaves_its_scores_but_no_model(pictures: Pictures, tmp_path: Path) -> None:
    result = run(pictures, tmp_path, answering("continue", "prune"))
    assert result.outcome == "pruned" and len(read_epochs(TrialPaths(tmp_path))) == 2
    assert {name for name in files_in(tmp_path) if name.startswith("best/")} == {"best/scores.csv"}
    summary = summarise_scores(read_scores(TrialPaths(tmp_path).scores_csv))
    assert summary["val/dice_loss"] == result.value
    assert set(result.costs) | MAYBE_UNKNOWN == set(COSTS)


def test_stopped_training_leaves_a_checkpoint_only(pictures: Pictures, tmp_path: Path) -> None:
    result = run(pictures, tmp_path, answering("stop"))
    assert result.outcome == "stopped"
    written = {name for name in files_in(tmp_path) if not name.startswith("overlays/")}
    assert written == {"checkpoint", "epochs.jsonl"}


def test_objective_decides_which_epoch_is_best(pictures: Pictures, tmp_path: Path) -> None:
    objective = ObjectiveConfig(metric="val/recall", direction="maximize")
    result = run(pictures, tmp_path, objective=objective, train__epochs=4)
    log = read_epochs(TrialPaths(tmp_path))
    assert result.value == result.best["best/recall"] == max(line["val/recall"] for line in log)
    assert result.best_epoch == next(
        line["epoch"] for line in log if line["val/recall"] == result.value
    ), "the first of equal ones"


def test_patience_ends_a_training_that_gets_no_better(pictures: Pictures, tmp_path: Path) -> None:
    """With a rate of almost nothing, BatchNorm in evaluation makes later epochs no better."""
    result = run(
        pictures, tmp_path, train__epochs=12, train__patience=2, optim__lr=1e-3,
        objective=ObjectiveConfig(metric="val/recall", direction="maximize"),
    )  # fmt: skip
    log = read_epochs(TrialPaths(tmp_path))
    assert result.outcome == "complete" and result.best_epoch is not None
    assert len(log) == result.best_epoch + 2 < 12


def test_validation_without_anything_to_find_is_a_data_error(
    pictures: Pictures, tmp_path: Path
) -> None:
    cache = pictures.cache()
    blank = ImageCache(**{**vars(cache), "truths": np.zeros_like(cache.truths)})
    with pytest.raises(DataError, match=r"7 validation images of which 0 have any foreground"):
        run(pictures, tmp_path / "0001", cache=blank)
    assert files_in(tmp_path) == set()


def test_size_that_the_network_cannot_take_is_found_before_training(
    pictures: Pictures, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"data.image_size: 40 x 40 pixels: .*divisible by 16"):
        run(pictures, tmp_path / "0001", data__image_size=40, model__encoder_depth=4)
    assert files_in(tmp_path) == set()


def test_weights_that_are_not_finite_are_found_by_the_validation_and_not_logged(
    pictures: Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = Trainer.train_epoch

    def spoil(self: Trainer, n: int, halt: Callable[[], bool]) -> Line:
        line = train(self, n, halt)
        if n == 2:
            next(self.network.parameters()).data.fill_(float("nan"))
        return line

    monkeypatch.setattr(Trainer, "train_epoch", spoil)
    with pytest.raises(DivergedError, match="outputs are not finite numbers"):
        run(pictures, tmp_path)
    assert [line["epoch"] for line in read_epochs(TrialPaths(tmp_path))] == [1]


def test_a_training_that_is_over_is_not_saved_to_be_continued(
    pictures: Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its model is written in a moment; a checkpoint, three times as large, would be waited for."""
    epochs: list[int] = []
    save = CheckpointWriter.save

    def noted(self: CheckpointWriter, state: dict[str, Any]) -> None:
        if state["trainer"]["part"] is None:  # else it was begun within an epoch
            epochs.append(state["epoch"])
        save(self, state)

    monkeypatch.setattr(CheckpointWriter, "save", noted)
    run(pictures, tmp_path, train__epochs=3, train__checkpoint_s=1e-6)
    assert epochs == [1, 2]


def test_pruned_trial_leaves_its_state_unless_the_disk_is_full(
    pictures: Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have a second chance, which is no reason to fail."""

    def prune(line: Line) -> Decision:
        return "prune" if line["epoch"] == 1 else "continue"

    changes = {"train.epochs": 3, "train.checkpoint_s": 1e6}
    assert run(pictures, tmp_path / "kept", prune, **changes).outcome == "pruned"
    assert TrialPaths(tmp_path / "kept").checkpoint.exists()

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("harness.training.loop.checkpoint.write_checkpoint", refuse)
    assert run(pictures, tmp_path / "full", prune, **changes).outcome == "pruned"
    assert not TrialPaths(tmp_path / "full").checkpoint.exists()


def test_progress_within_epochs_is_reported_and_changes_nothing(
    tmp_path: Path, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.training.loop.training_run.STEP_REPORT_S", 0.0)
    quiet, told = [], []
    run(pictures, tmp_path / "quiet", lambda line: quiet.append(line) or "continue")
    steps: list[tuple[int, int, int, float]] = []
    run(
        pictures,
        tmp_path / "told",
        lambda line: told.append(line) or "continue",
        on_step=lambda *progress: steps.append(progress),
    )
    n_steps = steps[0][2]
    epochs = [int(line["epoch"]) for line in told]
    assert [step[:3] for step in steps] == [
        (epoch, step, n_steps) for epoch in epochs for step in range(1, n_steps + 1)
    ]
    # The mean over all steps of an epoch is its training loss.
    ends = [loss for _, step, _, loss in steps if step == n_steps]
    assert ends == pytest.approx([line["train/loss"] for line in told])
    same = [key for key in told[0] if key not in ("seconds", "time_ms")]
    assert [[line[k] for k in same] for line in told] == [[line[k] for k in same] for line in quiet]
