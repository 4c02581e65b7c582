"""Model cards of studies on disk: their values are those of the files, their Markdown is whole."""

import re
from pathlib import Path

import numpy as np
import pytest

from harness.config.decision_rule import ClassDecision, DecisionRule
from harness.config.progress import LineProgress
from harness.core import files, strict_yaml
from harness.core.paths import StudyPaths, TrialPaths
from harness.deploy.card.card_facts import collect_card_facts
from harness.deploy.card.model_card import render_model_card, write_model_card
from harness.deploy.deployment import Deployment, DeploymentRequest, choose_weights
from harness.evaluation.confirm.load_confirmation import load_confirmation
from harness.evaluation.confirm.plan import ConfirmationPlan, PlannedRun
from harness.evaluation.decision.frozen_rule import FrozenRule
from harness.evaluation.held_out.ledger import (
    HeldOutResult,
    LedgerDataset,
    LedgerFinish,
    LedgerStart,
    LedgerThresholds,
    append_to_ledger,
)
from harness.search.definition.context import open_context
from harness.search.definition.options import RunOptions
from harness.training.metrics.image_scores import read_scores, scores_from_entries, write_scores
from tests.evaluation.confirming import N_IMAGES, a_search, begun, trained
from tests.report.studies import Builder

HOSTILE = "images/a|b<img src=x onerror=alert(1)>[x](javascript:y)`.png"


def give_weights(trial: TrialPaths, study: Builder) -> None:
    """A file in place of weights, and the configuration that the search used."""
    trial.model.mkdir(parents=True, exist_ok=True)
    (trial.model / "model.safetensors").write_bytes(str(trial.root).encode())
    if not trial.config_yaml.exists():
        text = study.paths.trial(0).config_yaml.read_text(encoding="utf-8")
        files.write_text(trial.config_yaml, text)


def confirm(study: Builder) -> None:
    runs = tuple(PlannedRun(trial=0, part=part, seed=900 + part) for part in range(3))
    plan = ConfirmationPlan(top=1, seeds=3, runs=runs)
    begun(study.paths, plan)
    rng = np.random.default_rng(0)
    for number in range(3):
        losses = (0.2 + 0.01 * number + 0.1 * rng.random(N_IMAGES)).tolist()
        trained(study.paths, plan, number, losses)
        give_weights(study.paths.confirm.trial(number), study)


def deploy(study: Builder, trial: int | None = None, **rule: object) -> Deployment:
    options = RunOptions.from_arguments({"study": "tiny", "workspace": study.root, "device": "cpu"})
    context = open_context(options, study.paths, LineProgress())
    weights, reason = choose_weights(context, DeploymentRequest(trial=trial), LineProgress())
    data = context.config.data
    threshold = None if data.task == "multiclass" else 0.37
    entries = tuple(ClassDecision(threshold=threshold, **rule) for _ in data.scored_classes)
    frozen = FrozenRule(
        rule=DecisionRule(task=data.task, classes=entries),
        weights={member.label: member.sha256 for member in weights},
        tta=False,
        n_images=8,
    )
    return Deployment(context, weights, False, frozen, reason)


def object_counts(sizes: dict[int, tuple[int, int, int, int]]) -> dict[str, float]:
    """Columns of an image: true, found, predicted and correct objects by the lower bound in px."""
    kinds = ("true", "found", "predicted", "correct")
    return {
        f"objects_{kind}_{low}": float(n)
        for low in (0, 8, 16, 32, 64, 128)
        for kind, n in zip(kinds, sizes.get(low, (0, 0, 0, 0)), strict=True)
    }


def record_test(
    paths: StudyPaths,
    weights: dict[str, str],
    values: list[float],
    counts: dict[str, float] | None = None,
) -> None:
    """A test run with one image for each value of Dice, in steps of a hundredth."""
    folder = paths.test_run(1)
    entries = []
    for row, value in enumerate(values):
        name = HOSTILE if row == 0 else f"images/t{row}.png"
        tp = round(100 * value)
        entries.append((row, name, 1, 1.0, 1.0, 100.0, tp, 100 - tp, 100 - tp, 1000))
    columns = {"height": 40.0, "width": 50.0, "objects": 1.0, "dice_256": 0.5, "iou_256": 0.5}
    columns |= counts or {}
    extra = {name: [value] * len(values) for name, value in columns.items()}
    folder.root.mkdir(parents=True)
    write_scores(folder.scores_csv, scores_from_entries(entries, extra))
    append_to_ledger(
        paths,
        LedgerStart(
            look=1,
            at="2026-11-20T10:00:00Z",
            weights=weights,
            data=LedgerDataset(name="test", n_images=len(values), sha256="e" * 64),
            chosen=LedgerThresholds(thresholds={}, n_images=8),
            tta=False,
            ensemble=False,
            device="cpu",
            versions={},
        ),
    )
    mean = float(np.mean(values))
    results = (
        HeldOutResult(
            metric="dice", meaning="image", at="0.5", value=mean, low=0.31, high=0.92, n=3
        ),
        HeldOutResult(
            metric="dice", meaning="image", at="0.5", stratum="size 5-15 %", value=0.4321, n=2
        ),
        HeldOutResult(metric="false_alarm_share", meaning="image", at="0.5", value=0.25, n=4),
    )
    append_to_ledger(
        paths,
        LedgerFinish(
            look=1,
            at="2026-11-20T10:01:00Z",
            scores_sha256=files.file_sha256(folder.scores_csv),
            results=results,
        ),
    )


@pytest.fixture
def study(tmp_path: Path) -> Builder:
    study = a_search(tmp_path, (0.20, 0.30, 0.25))
    study.trial(3, [0.9, 0.35], {"optim.lr": 5e-3}, skill=0.8)
    for number in range(4):
        give_weights(study.paths.trial(number), study)
    return study


def card(deployment: Deployment, **options: object) -> str:
    text = render_model_card(collect_card_facts(deployment), **options)  # type: ignore[arg-type]
    check_markdown(text)
    return text


def check_markdown(text: str) -> None:
    """Front matter that parses, tables whose rows have one number of cells, no HTML, no link."""
    _, front, body = text.split("---\n", 2)
    metadata = strict_yaml.load_yaml(front, source="card").value
    assert metadata["pipeline_tag"] == "image-segmentation"
    body = re.sub(r"```yaml\n.*?```\n", "", body, flags=re.DOTALL)
    assert not re.search(r"<[a-z/!]|\]\(|javascript:", body)
    blocks = re.findall(r"(?:^\|.*\n)+", body, flags=re.MULTILINE)
    assert blocks
    for block in blocks:
        assert len({line.count("|") for line in block.splitlines()}) == 1
        assert re.fullmatch(r"\|( --- \|)+", block.splitlines()[1])


def section(text: str, title: str) -> str:
    return text.split(f"## {title}\n")[1].split("\n## ")[0]


def test_a_leading_trial_is_not_called_confirmed(study: Builder) -> None:
    text = card(deploy(study))
    chosen = section(text, "How these weights were chosen")
    assert "- **status**: leading, not confirmed\n" in chosen
    assert "- **confirmation**: none\n" in chosen
    assert "- **search**: 4 trials (4 complete)\n" in chosen
    assert "| 0 | `val/dice_loss` | 0.2000 |" in section(text, "Results on validation images")
    assert "configuration" not in section(text, "Results on validation images")


def test_a_requested_trial_is_neither_leading_nor_confirmed(study: Builder) -> None:
    confirm(study)
    text = card(deploy(study, trial=3))
    assert "- **status**: not confirmed\n" in text
    assert "configuration |" not in section(text, "Results on validation images")


def test_confirmed_values_are_those_of_the_confirmation(study: Builder) -> None:
    confirm(study)
    deployment = deploy(study)
    confirmation = load_confirmation(study.paths)
    assert confirmation is not None
    choice = confirmation.choice
    assert choice is not None
    assert choice.interval is not None
    text = section(card(deployment), "Results on validation images")
    low, high = choice.interval.low, choice.interval.high
    assert (
        f"| configuration | `val/dice_loss` | {choice.mean:.4f} | {low:.4f} to {high:.4f} |" in text
    )
    assert f"mean of 3 seeds, standard deviation {choice.deviation:.4f}" in text
    assert "| configuration | `val/dice_loss` | 0.2000 | – | in the search, trial 0 |" in text
    assert "- **status**: confirmed choice\n" in card(deployment)


def test_interval_of_one_network_is_that_of_its_images(study: Builder) -> None:
    from harness.evaluation.statistics.image_values import per_image_values
    from harness.evaluation.statistics.intervals import mean_interval

    confirm(study)
    deployment = deploy(study)
    (weights,) = deployment.weights
    interval = mean_interval(
        per_image_values(read_scores(weights.paths.scores_csv), "dice_loss").to_numpy()
    )
    assert interval is not None
    row = f"| {weights.label} | `val/dice_loss` | {interval.mean:.4f} | "
    assert f"{row}{interval.low:.4f} to {interval.high:.4f} |" in card(deployment)


def test_an_untested_network_says_so(study: Builder) -> None:
    text = card(deploy(study, trial=3))
    assert section(text, "Results on test images").strip() == (
        "Test runs: 0. The test images were never opened."
    )
    failures = section(text, "Where it fails")
    assert failures.strip().startswith("Not tested yet: from the validation images")
    scores = read_scores(study.paths.trial(3).scores_csv)
    dice = 2 * scores.tp / np.maximum(2 * scores.tp + scores.fp + scores.fn, 1)
    worst = int(np.argmin(dice))
    assert f"| `{scores.image[worst]}` | {dice[worst]:.4f} |" in failures


def test_a_test_run_of_these_weights_gives_the_numbers_and_the_failures(study: Builder) -> None:
    deployment = deploy(study)
    weights = {"0": deployment.weights[0].sha256}
    record_test(study.paths, weights, [0.5, 0.1, 0.9])
    text = card(deployment)
    tests = section(text, "Results on test images")
    assert "Test runs: 1. " in tests
    assert "1 of these runs measured exactly these weights" in tests
    assert "| 3 test images | 0, these | Dice | p ≥ 0.5 | 0.5000 | 0.3100 to 0.9200 |" in tests
    failures = section(text, "Where it fails")
    assert "| size 5-15 % | 2 | 0.4321 | fewer than 50 images |" in failures
    assert "Of 4 images without foreground, 25 % have predicted foreground." in failures
    rows = [
        line for line in failures.splitlines() if re.search(r"\.png", line.replace("&#46;", "."))
    ]
    assert [row.rsplit("|", 2)[1].strip() for row in rows] == ["0.1000", "0.5000", "0.9000"]
    assert "opened by 1 test run" in section(text, "Training data")


def test_objects_by_size_are_those_of_the_test_run(study: Builder) -> None:
    """Of each of three images: 4 objects of 8 to 16 px, 3 of them found among 6; 1 false speck."""
    deployment = deploy(study)
    counts = object_counts({0: (0, 0, 1, 0), 8: (4, 3, 6, 3)})
    record_test(study.paths, {"0": deployment.weights[0].sha256}, [0.5, 0.1, 0.9], counts)
    failures = section(card(deployment), "Where it fails")
    assert "| below 8 px | 0 | 0 | – | 3 | 0 | 0.0000 |" in failures
    assert "| 8 to 16 px | 12 | 9 | 0.7500 | 18 | 9 | 0.5000 |" in failures
    assert "16 to 32 px" not in failures


def test_objects_by_size_of_an_untested_network_are_those_of_its_confirmation(
    study: Builder,
) -> None:
    confirm(study)
    deployment = deploy(study)
    assert "Objects by size" not in card(deployment), "not measured"
    (weights,) = deployment.weights
    entries = [(0, "images/0.png", 1, 1.0, 1.0, 100.0, 50, 50, 50, 1000)]
    counts = object_counts({32: (5, 4, 4, 4)})
    scores = scores_from_entries(entries, {name: [n] for name, n in counts.items()})
    write_scores(weights.paths.native_size_csv, scores)
    failures = section(card(deployment), "Where it fails")
    assert "Objects by size at native size, decided at 0.5 or by argmax; the size" in failures
    assert "| 32 to 64 px | 5 | 4 | 0.8000 | 4 | 4 | 1.0000 |" in failures


def test_a_test_run_of_other_weights_is_counted_and_not_shown_as_failures(study: Builder) -> None:
    record_test(study.paths, {"0": "f" * 64}, [0.5, 0.1, 0.9])
    text = card(deploy(study))
    tests = section(text, "Results on test images")
    assert "None of these runs measured exactly these weights." in tests
    assert "| 0, other |" in tests
    assert "Not tested yet" in section(text, "Where it fails")


def test_scores_that_were_changed_after_the_test_run_are_not_shown(study: Builder) -> None:
    deployment = deploy(study)
    record_test(study.paths, {"0": deployment.weights[0].sha256}, [0.5, 0.1, 0.9])
    path = study.paths.test_run(1).scores_csv
    path.write_text(path.read_text().replace("images/t1", "images/x1"), encoding="utf-8")
    failures = section(card(deployment), "Where it fails")
    assert "the worst images are not known" in failures
    assert "images/x1" not in failures


def test_rule_and_licences(study: Builder) -> None:
    text = card(deploy(study, min_size=40, fill_holes=True, largest_only=True))
    row = "| foreground | p ≥ 0.37 | filled | 40 pixels | the largest alone |"
    assert row in section(text, "Decision rule")
    licences = section(text, "Licences")
    assert "resnet34 (imagenet): MIT code" in licences
    assert "unknown: ask the owner of the data" in licences


def test_a_hostile_question_is_text(tmp_path: Path) -> None:
    question = "<b>x</b> | [a](http://e.example)\n# y"
    study = a_search(tmp_path, (0.2,), question=question)
    give_weights(study.paths.trial(0), study)
    text = card(deploy(study))
    assert "\nQuestion of the study: &#60;b&#62;x&#60;/b&#62; &#124; &#91;a&#93;(http" in text


def test_several_classes_have_a_row_each_and_their_confusion(tmp_path: Path) -> None:
    """Class 1 lost 40 of 100 pixels in an image where class 2 alone gained any."""
    data = {
        "root": "tiny",
        "task": "multiclass",
        "classes": ["ground", "water", "roof"],
        "eval_size": 32,
    }
    study = Builder(tmp_path, config={"data": data})
    study.trial(0, [0.9, 0.2])
    give_weights(study.paths.trial(0), study)
    entries = [
        (1, "images/p01.png", 0, 1.0, 1.0, 100.0, 100, 0, 0, 200),
        (1, "images/p01.png", 1, 1.0, 1.0, 100.0, 60, 0, 40, 200),
        (1, "images/p01.png", 2, 1.0, 1.0, 100.0, 100, 40, 0, 160),
    ]
    path = study.paths.trial(0).scores_csv
    path.parent.mkdir(parents=True, exist_ok=True)
    write_scores(path, scores_from_entries(entries))
    text = card(deploy(study))
    failures = section(text, "Where it fails")
    assert "| water | roof | 40 % | 40 % |" in failures
    assert "| water | 1 | 0.7500 | 0.6000 | 1.0000 |" in failures
    assert failures.count(" % | 40 % |") == 1
    assert "| roof | argmax |" in section(text, "Decision rule")
    assert "| water | 33.3 % | 33.3 % | 1 of 1 |" in section(text, "Training data")


def test_parity_and_precision_are_shown(study: Builder, tmp_path: Path) -> None:
    parity = {
        "images": "noise",
        "n_images": 5,
        "equal_pixels": 0.999991,
        "max_abs_dp": 2.5e-6,
        "ddice": None,
        "max_abs_ddice": None,
    }
    path = write_model_card(deploy(study), tmp_path, parity, precision="int8")
    text = path.read_text(encoding="utf-8")
    check_markdown(text)
    agreement = section(text, "Agreement of this bundle with harness")
    assert "calibrated on training images" in agreement
    assert "| share of equal mask pixels | 0.999991 |" in agreement
    assert "Dice of the bundle" not in agreement
    assert "Not measured." in section(card(deploy(study)), "Agreement of this bundle with harness")


def test_reproduction_names_weights_and_settings(study: Builder) -> None:
    deployment = deploy(study)
    text = section(card(deployment), "How to reproduce")
    assert f"id `{'0' * 32}`" in text
    assert f"`{deployment.weights[0].sha256}`" in text
    settings = re.search(r"```yaml\n(.*?)```", text, flags=re.DOTALL)
    assert settings is not None
    loaded = strict_yaml.load_yaml(settings[1], source="card").value
    assert loaded == deployment.weights[0].config.model_dump(mode="json") | {
        key: loaded[key] for key in ("data", "model", "loss", "optim", "train")
    }
