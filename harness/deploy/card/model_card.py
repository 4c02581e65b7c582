"""Model card of a bundle: `MODEL_CARD.md`, for readers and for the pages of a model hub."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.core import files, strict_yaml
from harness.deploy.card.card_facts import CardFacts, collect_card_facts
from harness.deploy.card.licences import describe_licences
from harness.deploy.card.markdown import code_block, escape_text, facts_list, name_text, table
from harness.deploy.card.results_section import (
    parity_section,
    rule_section,
    tests_section,
    validation_section,
)
from harness.deploy.card.training_section import (
    choice_section,
    data_section,
    networks_section,
)
from harness.deploy.card.weak_points import weak_points_section
from harness.deploy.deployment import Deployment

CARD_NAME = "MODEL_CARD.md"
_LIBRARIES = {"onnx": "onnx", "torch": "pytorch", "openvino": "openvino"}
_LIMITS = """\
The network was trained for images like the training images described above: the same objects, the
same kind of device and preparation, the same channels and range of values. For other images nothing
was measured, and the mask can be wrong without a sign of it: a probability near 1 is no proof.

This card reports measurements. It makes no claim that the network is fit for a purpose, and the
network has not been assessed as a medical device or as a part of a safety system. Who uses it for
decisions about people, property or the environment decides if it is good enough, measures it on
images of that use first, and keeps a person in charge of the decision.
"""


def write_model_card(
    deployment: Deployment,
    folder: Path,
    parity: Mapping[str, Any] | None = None,
    *,
    samples: Sequence[Mapping[str, Any]] = (),
    model_format: str = "onnx",
    precision: str = "fp32",
) -> Path:
    """Write `MODEL_CARD.md` into a bundle's folder, and return its path.

    Args:
        parity: the entry `parity` of model.json; None if it was not measured.
        samples: the entry `samples` of model.json.
        model_format: onnx, torch or openvino.
        precision: fp32, fp16 or int8.

    Raises:
        ConfigError, DataError: a file of the study is damaged.
        OSError: the card cannot be written.
    """
    path = folder / CARD_NAME
    facts = collect_card_facts(deployment)
    text = render_model_card(
        facts, parity, samples=samples, model_format=model_format, precision=precision
    )
    files.write_text(path, text)
    return path


def render_model_card(
    facts: CardFacts,
    parity: Mapping[str, Any] | None = None,
    *,
    samples: Sequence[Mapping[str, Any]] = (),
    model_format: str = "onnx",
    precision: str = "fp32",
) -> str:
    """The card as Markdown with YAML front matter, as the Hugging Face hub reads it."""
    sections = {
        "Network": networks_section(facts),
        "Training data": data_section(facts),
        "How these weights were chosen": choice_section(facts),
        "Results on validation images": validation_section(facts),
        "Results on test images": tests_section(facts),
        "Decision rule": rule_section(facts),
        "Where it fails": weak_points_section(facts),
        "Agreement of this bundle with harness": parity_section(parity, precision),
        "Samples": _samples_section(facts, samples),
        "Intended use and limits": _LIMITS,
        "Licences": _licences_section(facts),
        "Software": _software_section(facts),
        "How to reproduce": _reproduction_section(facts),
    }
    parts = [_front_matter(facts, model_format), _heading(facts, model_format, precision)]
    parts += [f"## {title}\n\n{text}" for title, text in sections.items() if text]
    return "\n".join(parts)


def _front_matter(facts: CardFacts, model_format: str) -> str:
    """Metadata of the hub: https://huggingface.co/docs/hub/model-cards, section on metadata."""
    metadata: dict[str, Any] = {
        "library_name": _LIBRARIES[model_format],
        "pipeline_tag": "image-segmentation",
        # The hub has no name for weights and data that each have their own terms.
        "license": "other",
        "license_name": "see-section-licences",
        "license_link": f"{CARD_NAME}#licences",
        "tags": ["image-segmentation", facts.config.data.task],
        "metrics": ["dice", "iou"],
    }
    return f"---\n{strict_yaml.dump_yaml(metadata).rstrip()}\n---\n"


def _heading(facts: CardFacts, model_format: str, precision: str) -> str:
    data, question = facts.config.data, facts.config.question
    classes = data.classes[1:] if data.task == "binary" else data.classes
    names = escape_text(", ".join(classes))
    question_text = f"\nQuestion of the study: {escape_text(question)}\n" if question else ""
    return (
        f"# {escape_text(facts.paths.name)}\n\nSegments images into {names} ({data.task}); "
        f"{model_format}, {precision}.\n{question_text}"
    )


def _samples_section(facts: CardFacts, samples: Sequence[Mapping[str, Any]]) -> str:
    """Images of the bundle, with the terms of their data; "" if there are none."""
    if not samples:
        return ""
    rows = [
        (
            name_text(sample["file"]),
            sample["kind"],
            name_text(sample["image"]),
            "" if sample["dice"] is None else f"{sample['dice']:.4f}",
        )
        for sample in samples
    ]
    terms = escape_text(describe_licences([], facts.config.data).data)
    titles = ("file", "chosen as", "image of the data set", "Dice")
    return (
        "Validation images, which chose epoch and trial, with the masks of this bundle in "
        f"`samples/masks/`. Terms of the images: {terms}.\n\n"
        f"{table(titles, rows)}"
    )


def _licences_section(facts: CardFacts) -> str:
    licences = describe_licences([network.config for network in facts.networks], facts.config.data)
    listed = [
        ("pretrained weights", escape_text(licences.weights)),
        ("data", escape_text(licences.data)),
        ("these weights", "a result of both; their owner decides the licence within those terms"),
    ]
    return facts_list(listed)


def _software_section(facts: CardFacts) -> str:
    versions: dict[str, dict[str, None]] = {}
    for network in facts.networks:
        for name, version in network.record.versions.items():
            versions.setdefault(name, {})[version] = None
    listed = [(name_text(name), escape_text(", ".join(own))) for name, own in versions.items()]
    devices = dict.fromkeys(network.record.device or "not recorded" for network in facts.networks)
    return facts_list([*listed, ("trained on", escape_text(", ".join(devices)))])


def _reproduction_section(facts: CardFacts) -> str:
    config, record = facts.config, facts.networks[0].record
    listed = [
        ("study", f"{name_text(facts.paths.name)}, id `{config.id}`"),
        ("seeds", f"study {config.seed}, split {config.split.seed}"),
        ("commit", "" if record.git_commit is None else name_text(record.git_commit)),
    ]
    listed += [
        (
            f"trial {escape_text(network.weights.label)}",
            f"seed {network.record.seed}, SHA-256 of the weights `{network.sha256}`",
        )
        for network in facts.networks
    ]
    settings = strict_yaml.dump_yaml(facts.networks[0].config.model_dump(mode="json"))
    return (
        f"{facts_list(listed)}\nAll settings of trial "
        f"{escape_text(facts.networks[0].weights.label)}:\n\n{code_block(settings, 'yaml')}"
    )
