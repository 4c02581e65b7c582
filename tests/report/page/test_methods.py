import re
from pathlib import Path

import pytest

from harness.config.catalogue import BUILTIN_LOSS_ENTRIES, NETWORKS, OPTIMIZERS
from harness.data.splits.splits import read_split
from harness.report.page import references
from harness.report.page.methods import MethodsParagraph, build_methods_paragraph
from harness.report.tables.study_tables import load_study_tables
from tests.report.studies import Builder


def of(study: Builder) -> MethodsParagraph:
    found = build_methods_paragraph(
        load_study_tables(study.paths), read_split(study.paths.split_csv)
    )
    assert found is not None
    return found


def test_the_paragraph_says_what_ran(shared: Builder) -> None:
    text = of(shared).text
    plain = re.sub(r" \[\d+\]", "", text)
    for sentence in (
        "The images of tiny (binary: background / foreground) were split into 1 training, 8 "
        "validation and 1 test image (seed 0); duplicates are in the same part. The test images "
        "were never opened.",
        "The networks were Unet, Linknet and FPN with the encoders mobilenet_v2 and resnet18, 3 to "
        "5 stages deep, initialised with ImageNet weights.",
        "Images were stretched to 32 × 32 pixels, normalised (imagenet) and augmented with "
        "albumentations (light).",
        "Training used AdamW for 4 epochs at batch size 8, learning rate 1e-05 to 0.009 "
        "(cosine), weight decay 0.0001, in fp32.",
        "The loss was a weighted sum of dice and binary cross-entropy (weights, normalised to sum "
        "to 1: dice 1, bce 1).",
        "Optuna sampled 8 trials (TPE sampler, seed 0), varying model.arch, model.encoder_name, ",
        "; the halving pruner stopped 2 of 8 trials early.",
        "Software: torch 2.15.0, harness 0.1.0 on cpu.",
    ):
        assert sentence in plain


def test_only_what_ran_is_referred_to_and_numbers_fit(shared: Builder) -> None:
    found = of(shared)
    cited = [int(number) for number in re.findall(r"\[(\d+)\]", found.text)]
    assert sorted(set(cited)) == list(range(1, len(found.references) + 1))
    first = list(dict.fromkeys(cited))
    assert first == sorted(first)  # numbered in order of appearance
    known = found.references
    for name in ("Unet", "Linknet", "FPN"):
        assert NETWORKS[name].reference in known
    for reference in (
        references.SAMPLERS["tpe"],
        references.PRUNERS["halving"],
        BUILTIN_LOSS_ENTRIES["dice"].reference,
        OPTIMIZERS["adamw"].reference,
        references.LIBRARIES["torch"],
        references.IMAGENET,
    ):
        assert reference in known
    for reference in (
        NETWORKS["PSPNet"].reference,
        BUILTIN_LOSS_ENTRIES["lovasz"].reference,
        OPTIMIZERS["adam"].reference,
        references.PRUNERS["hyperband"],
        references.LIBRARIES["timm"],
    ):
        assert reference not in known
    where = found.text.index("Linknet [") + len("Linknet [")
    number = int(found.text[where : found.text.index("]", where)])
    assert known[number - 1] == NETWORKS["Linknet"].reference


def test_a_loss_that_was_always_without_weight_is_not_named(study: Builder) -> None:
    study.trial(0, [0.5], {"loss.dice": 0.0, "loss.bce": 0.25})
    study.trial(1, [0.4], {"loss.dice": 0.0, "loss.bce": 1.0})
    text = of(study).text
    assert "The loss was binary cross-entropy." in text and "dice [" not in text


def test_a_trial_that_never_trained_is_left_out(study: Builder) -> None:
    study.trial(0, [], {"model.arch": "FPN"}, state="failed")
    tables = load_study_tables(study.paths)
    assert build_methods_paragraph(tables, []) is None
    study.trial(1, [0.5], {"model.arch": "Unet"})
    assert "FPN" not in of(study).text


def test_options_that_ran_change_the_words(tmp_path: Path) -> None:
    config = {"sampler": {"name": "random"}, "pruner": {"name": "none"}}
    study = Builder(tmp_path, config=config)
    study.trial(0, [0.5], {"data.augment": "none", "model.encoder_weights": None})
    found = of(study)
    assert "and not augmented." in found.text and "random weights" in found.text
    assert "; no pruner was used." in found.text
    assert references.LIBRARIES["albumentations"] not in found.references
    assert references.SAMPLERS["random"] in found.references


ROW = "enqueue: [{optim.lr: 0.001}]\n"


@pytest.mark.parametrize(
    ("sampler", "imported", "enqueue", "sentence"),
    [
        ("tpe", [], "", "The first 2 trials were sampled at random."),
        ("tpe", ["complete", "pruned"], "", "The first trial was sampled at random."),
        ("gp", ["complete", "pruned"], "", "The first 2 trials were sampled at random."),
        ("tpe", ["complete"] * 3, "", None),
        (
            "tpe",
            [],
            ROW,
            "The first trial had values given by the space. The next trial was sampled at random.",
        ),
        ("tpe", ["complete"] * 3, ROW, "The first trial had values given by the space."),
        ("random", [], "", None),
    ],
)
def test_trials_sampled_at_random_are_those_before_the_sampler_has_its_startup_trials(
    tmp_path: Path, sampler: str, imported: list[str], enqueue: str, sentence: str | None
) -> None:
    """Three startup trials, two own trials; imported ones count, enqueued ones are given."""
    study = Builder(tmp_path, config={"sampler": {"name": sampler, "n_startup_trials": 3}})
    with study.paths.space_yaml.open("a", encoding="utf-8") as handle:
        handle.write(enqueue)
    for number, state in enumerate(imported):
        study.trial(number, [0.5], {"optim.lr": 1e-3}, state=state, imported=f"old/{number}")
    for number in range(len(imported), len(imported) + 2):
        study.trial(number, [0.5], {"optim.lr": 1e-4})
    text = of(study).text
    assert (sentence or "early.") in text
    assert sentence is not None or ("at random" not in text and "given by" not in text)
    assert ("at random" in (sentence or "")) == ("sampled at random" in text)


@pytest.mark.parametrize(
    ("encoder", "author"),
    [
        ("resnet34", "He et al. 2016"),
        ("tu-resnet34", "He et al. 2016"),
        ("resnext50_32x4d", "Xie et al. 2017"),
        ("timm-efficientnet-b0", "Tan, Le 2019"),
        ("tu-mobilenetv3_large_100", "Howard et al. 2019"),
        ("mit_b0", "Xie et al. 2021"),
    ],
)
def test_an_encoder_is_known_by_how_it_begins(encoder: str, author: str) -> None:
    reference = references.encoder_reference(encoder)
    assert reference is not None and reference.startswith(author)


def test_an_unknown_encoder_has_no_reference() -> None:
    assert references.encoder_reference("own") is None
