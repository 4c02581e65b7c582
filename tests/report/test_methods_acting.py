"""Every setting that acted stands in the methods paragraph, and none that did not."""

from pathlib import Path
from typing import Any

import pytest

from harness.config.catalogue import NETWORKS
from harness.config.study import TrialConfig
from harness.core import files, strict_yaml
from harness.core.records import write_record
from harness.data.datasets.sources import KVASIR
from harness.data.splits.splits import Role, SplitRow, read_split, write_split
from harness.evaluation.held_out.ledger import (
    LedgerDataset,
    LedgerStart,
    LedgerThresholds,
    append_to_ledger,
)
from harness.models.registry import ARCHS, inactive_keys
from harness.report.page.methods import MethodsParagraph, build_methods_paragraph
from harness.report.tables.study_tables import load_study_tables
from tests.report.studies import Builder
from tests.training.test_settings import fields_of

SPEED = ("train.checkpoint_s",)  # changes no number and nothing that is worth a sentence


def of(study: Builder, data_root: Path | None = None) -> MethodsParagraph:
    split = read_split(study.paths.split_csv) if study.paths.split_csv.is_file() else []
    found = build_methods_paragraph(load_study_tables(study.paths), split, data_root)
    assert found is not None
    return found


def configured(root: Path, flat: dict[str, Any], task: str | None = None, **more: Any) -> str:
    """The paragraph of a study of one trial with these fixed settings."""
    classes = {"classes": ["a", "b", "c"]} if task == "multiclass" else {}
    data = {"root": "tiny", "eval_size": 32, "task": task or "binary"} | classes
    study = Builder(root, config={"data": data})
    record = study.trial(0, [0.5, 0.4], {}, **more)
    config = TrialConfig.from_flat({"train.epochs": 4} | flat)
    path = study.paths.trial(record.number).config_yaml
    files.write_text(path, strict_yaml.dump_yaml(config.model_dump(mode="json")))
    return of(study).text


def settings() -> list[Any]:
    found = []
    for key, setting in fields_of(TrialConfig).items():
        found.append(pytest.param(key, setting, id=key))
    return found


@pytest.mark.parametrize(("key", "setting"), settings())
def test_each_setting_that_acts_changes_the_paragraph(
    tmp_path: Path, key: str, setting: Any
) -> None:
    extra = setting.json_schema_extra
    needs, task = extra.get("with", {}), extra.get("task")
    ran = {"epochs": 3} if key == "train.epochs" else {}
    if key == "train.precision":  # what ran is recorded, whatever was asked for
        ran = {"precision": "bf16"}
    plain = configured(tmp_path / "plain", needs, task)
    changed = configured(tmp_path / "changed", needs | {key: extra["try"]}, task, **ran)
    assert (plain != changed) == (key not in SPEED)


@pytest.mark.parametrize(
    ("base", "idle"),
    [
        ({}, {"optim.momentum": 0.5}),
        ({}, {"loss.focal_gamma": 4.0, "loss.tversky_alpha": 0.9}),
        ({"loss.bce": 0.0}, {"loss.label_smoothing": 0.2}),
        ({"loss.bce": 0.0}, {"loss.class_weights": [1.0, 5.0]}),
        ({"optim.encoder_lr": 1e-4, "optim.decoder_lr": 1e-3}, {"optim.lr": 0.5}),
        ({"train.freeze_encoder_epochs": 4}, {"optim.encoder_lr": 0.125}),
        ({"model.arch": "attention_unet"}, {"model.encoder_name": "resnet18"}),
        ({"model.arch": "attention_unet"}, {"model.encoder_weights": None}),
    ],
)
def test_a_setting_that_did_not_act_is_not_in_it(
    tmp_path: Path, base: dict[str, Any], idle: dict[str, Any]
) -> None:
    plain = configured(tmp_path / "plain", base)
    assert configured(tmp_path / "idle", base | idle) == plain


def test_each_part_of_the_network_has_the_rate_that_its_weights_had(tmp_path: Path) -> None:
    rates = {"optim.encoder_lr_scale": 0.1, "optim.decoder_lr": 0.004, "optim.lr": 0.002}
    text = configured(tmp_path, rates)
    assert "learning rate 0.0002 of the encoder and 0.004 of the rest (cosine" in text


def test_what_acts_only_where_it_is_set_is_said(tmp_path: Path) -> None:
    text = configured(
        tmp_path,
        {
            "optim.name": "sgd",
            "optim.warmup_epochs": 1.0,
            "optim.grad_clip": 0.5,
            "train.freeze_encoder_epochs": 1,
            "train.ema_decay": 0.99,
            "train.patience": 3,
            "train.seed": 7,
            "loss.label_smoothing": 0.1,
        },
        micro_batch=2,
    )
    for sentence in (
        "The momentum of SGD was 0.9.",
        "The learning rate rose linearly in a warm-up of 1 epoch.",
        "Gradients were clipped at a norm of 0.5.",
        "The encoder was initially frozen for 1 epoch.",
        "Exponential moving averages of the weights (decay 0.99) were validated and saved.",
        "Training stopped after 3 epochs without improvement.",
        "In 1 trial each batch was split into micro-batches of 2 images to fit into GPU memory; ",
        "The training seed was 7.",
        "Label smoothing was 0.1.",
    ):
        assert sentence in text


def test_imported_pruned_trials_are_not_those_of_the_pruner(study: Builder) -> None:
    study.trial(0, [0.5], state="pruned", imported="other/0")
    study.trial(1, [0.5])
    assert "; the halving pruner stopped no trial early." in of(study).text


def test_a_parameter_that_was_not_in_force_has_the_value_of_its_own_configuration(
    study: Builder,
) -> None:
    """Trial 0 searched the momentum under SGD; trial 1, under AdamW, had no momentum."""
    study.trial(0, [0.5], {"optim.name": "sgd", "optim.momentum": 0.5})
    study.trial(1, [0.4], {"optim.name": "adamw"})
    text = of(study).text
    assert "The momentum of SGD was 0.5 (1 of 2 trials)." in text


def test_a_size_of_two_sides_reads_as_one(study: Builder) -> None:
    params = {"data.image_size": "[32, 64]"}  # as Optuna stores a list
    record = study.trial(0, [0.5])
    write_record(study.paths.trial(0), record.model_copy(update={"params": params}))
    files.write_text(study.paths.trial(0).config_yaml, "data: {image_size: [32, 64]}\n")
    assert "Images were stretched to 32 × 64 pixels" in of(study).text


@pytest.mark.parametrize(("looks", "words"), [(1, "opened once"), (2, "opened twice")])
def test_a_test_set_that_was_opened_did_not_stay_sealed(
    study: Builder, looks: int, words: str
) -> None:
    study.trial(0, [0.5])
    for look in range(1, looks + 1):
        append_to_ledger(
            study.paths,
            LedgerStart(
                look=look,
                at="2026-11-29T00:00:00Z",
                weights={"0": "0"},
                data=LedgerDataset(name="test", n_images=1, sha256="0"),
                chosen=LedgerThresholds(thresholds={}, n_images=0),
                tta=False,
                ensemble=False,
                device="cpu",
                versions={},
            ),
        )
    text = of(study).text
    assert (
        f"1 test image (seed 0); duplicates are in the same part. The test images were {words}."
        in (text)
    )
    assert "never" not in text


def test_nothing_stopped_early_where_no_trial_was_pruned(study: Builder) -> None:
    study.trial(0, [0.5])
    assert "; the halving pruner stopped no trial early." in of(study).text


def divided(root: Path, folder: str | None, roles: str, **split: Any) -> Builder:
    study = Builder(root, config={"split": split} if split else {})
    names: dict[str, Role] = {"r": "train", "v": "val", "s": "test"}
    rows = []
    for row, letter in enumerate(roles):
        place = f"{names[letter] if folder is None else folder}/images/{row}.png"
        fold = None if "folds" not in split else 2 if letter == "v" else row
        rows.append(
            SplitRow(
                row,
                place,
                place,
                names[letter],
                f"g{row}",
                f"{row:064x}",
                f"{100 + row:064x}",
                fold,
            )
        )
    write_split(study.paths.split_csv, rows)
    study.trial(0, [0.5])
    return study


@pytest.mark.parametrize(
    ("folder", "roles", "split", "words"),
    [
        (None, "rrvs", {}, "(by the folders of the dataset)"),
        (
            "train",
            "rrrv",
            {},
            "(by the folders of the dataset; 1 training image moved to validation,",
        ),
        ("x", "rrvs", {"lists": "official"}, "(by the official lists of the dataset)"),
        ("x", "rrvs", {"lists": "splits/a"}, "(by the lists in splits/a)"),
        (
            "x",
            "rrv",
            {"folds": 3, "fold": 2},
            "(3 folds of the other images, fold 2 for validation; seed 0)",
        ),
        ("x", "rrvs", {}, "(seed 0)"),
    ],
)
def test_who_gave_the_roles_is_said(
    tmp_path: Path, folder: str | None, roles: str, split: dict[str, Any], words: str
) -> None:
    assert words in of(divided(tmp_path, folder, roles, **split)).text


def test_a_column_of_roles_is_named(tmp_path: Path) -> None:
    study = Builder(tmp_path, config={"data": {"root": "data/all.csv", "eval_size": 32}})
    study.trial(0, [0.5])
    files.write_text(tmp_path / "data" / "all.csv", "image,mask,role\n")
    assert "(by the column role of the CSV file)" in of(study, tmp_path / "data").text
    files.write_text(tmp_path / "data" / "all.csv", "image,mask\n")
    assert "(seed 0)" in of(study, tmp_path / "data").text


def test_a_share_of_the_training_images_is_told_in_images(tmp_path: Path) -> None:
    study = divided(tmp_path, "x", "r" * 8 + "vv")
    for number, share in ((0, 0.25), (1, 0.5)):
        study.trial(number, [0.5], {"data.subset": share})
    assert (
        "split into 8 training and 2 validation images (seed 0); duplicates are in the same part. "
        "Each trial used 2 to 4 of the training images (data.subset 0.25 to 0.5)."
    ) in of(study).text


@pytest.mark.parametrize("root", ["kvasir-seg", "/data/kvasir-seg/", "C:\\data\\kvasir-seg"])
def test_data_whose_terms_ask_for_it_is_cited(tmp_path: Path, root: str) -> None:
    study = Builder(tmp_path, config={"data": {"root": root, "eval_size": 32}})
    study.trial(0, [0.5])
    found = of(study)
    assert found.references[0] == KVASIR.citation
    assert f"The images of {root} [1] (binary" in found.text


@pytest.mark.parametrize(
    ("task", "words"),
    [("binary", "p ≥ 0.5."), ("multilabel", "p ≥ 0.5."), ("multiclass", "(argmax).")],
)
def test_what_decides_is_that_of_the_task(tmp_path: Path, task: str, words: str) -> None:
    data = {"root": "tiny", "eval_size": 32, "task": task, "classes": ["a", "b"]}
    study = Builder(tmp_path, config={"data": data})
    study.trial(0, [0.5])
    text = of(study).text
    assert words in text and ("argmax" in text) == (task == "multiclass")


def test_architectures_are_known_to_have_an_encoder_or_not() -> None:
    assert set(NETWORKS) >= set(ARCHS)
    for arch, entry in NETWORKS.items():
        nameless = {"model.encoder_name", "model.encoder_weights"}
        assert inactive_keys(arch) == (set() if entry.has_named_encoder else nameless)


def test_paragraph_gives_the_draws_of_an_epoch(tmp_path: Path) -> None:
    text = configured(tmp_path, {"data.sampling": "classes"}, draws=120)
    assert "Epochs drew images with rare classes more often. An epoch trained on 120 draws." in text


def test_paragraph_describes_tiles(tmp_path: Path) -> None:
    text = configured(tmp_path, {"data.tile.size": 64, "data.tile.scale": 0.5})
    assert "Images were used in windows of 64 × 64 pixels at 0.5 of their resolution" in text
    assert "stretched" not in text
