"""First `study.yaml` and first search space of a data set, with comments, from what a scan saw."""

import json
import math
import statistics
from dataclasses import dataclass
from string import Template
from typing import Any, Final

from harness.config.data import MIN_RANKING_IMAGES, StudyDataConfig
from harness.core import strict_yaml
from harness.core.errors import ConfigError
from harness.core.text import count
from harness.data.scan.scan import DatasetScan

_SIZES: Final = (64, 128, 256, 384, 512)  # multiples of 32, which every network takes
_LARGE_PX: Final = 1024  # longer images lose small objects when they are shrunk to one of _SIZES
_FEW_IMAGES: Final = 300  # with fewer, the strength of augmentation is worth a search
_STEPS: Final = 4000  # training steps of a trial: enough to tell configurations apart
# Settings whose defaults fit most data; they are written only where the data differ.
_COMMENTS: Final = {
    "ignore_index": "pixels that are not counted",
    "values": "class of each value in the masks",
    "channels": "input channels of the network",
    "range": "stored values that become 0 and 1",
}

_STUDY: Final = Template("""\
# Meaning of the data of $name, and their split. The first `harness run` writes every default
# into this file; afterwards only question, budget and limits may change.   harness config study
question: Which network finds the objects best?
data:
  root: $root
  task: $task        # binary, multiclass, multilabel
  classes: $classes        # rename them here; the order is that of the values
$others  eval_size: $eval_size        # pixels at which all trials are compared
$split
# Images of one patient, video or slide belong together, or the validation is too good. Name the
# part of the file name that they share, e.g. split: {group: '^(patient[0-9]+)_'}, or folder.
budget: {trials: 20}
""")
_SPACE: Final = Template("""\
# Which network suits these $n_images images?   harness run --space $name.yaml --trials 20
#
# A first space: decoders, small encoders, and what matters most in training. Any setting of
# `harness config` can be searched; docs/spaces.md explains the notation.
parameters:
  model.arch:         {choices: [Unet, UnetPlusPlus, FPN]}       # decoders of different cost
  model.encoder_name: {choices: [mobilenet_v2, resnet34, efficientnet-b0]}  # 2 to 21 M weights
  optim.lr:           {low: 1e-4, high: 3e-3, log: true}         # rates differ by factors
  loss.dice:          {low: 0.0, high: 1.0}     # weights are divided by their sum
  ${loss_key}{low: 0.0, high: 1.0}
${augment}fixed:        # for a GPU; on a CPU start with 128 pixels at most and 10 epochs
  data.image_size: $size        # the median image has $width x $height pixels
${tiles}  train.epochs: $epochs        # about $steps steps; poor trials end early
  train.batch_size: $batch
enqueue:        # tried first: a plain configuration as a reference
  - {model.arch: Unet, model.encoder_name: resnet34, optim.lr: 3e-4, loss.dice: 1, loss.$loss: 1}
""")
_AUGMENT: Final = "  data.augment:       {choices: [light, medium, strong]}   # few images\n"
_TILES: Final = (
    "  # Small objects vanish when such images shrink: compare data.tile.size (large-images.md).\n"
)


@dataclass(frozen=True)
class StarterFiles:
    """Texts of both files.

    Attributes:
        study_yaml: definition; the first `harness run` completes it.
        space_yaml: search space.
    """

    study_yaml: str
    space_yaml: str


def starter_files(name: str, scan: DatasetScan, data: StudyDataConfig) -> StarterFiles:
    """Write both texts for a data set.

    Args:
        name: name of the study and of its space.
        scan: usable pairs, at least one.
        data: proposed meaning of the files.
    """
    sizes = [stats.size for stats in scan.pair_stats]
    height, width = (int(statistics.median(side)) for side in zip(*sizes, strict=True))
    has_roles = any(pair.role is not None for pair in scan.dataset.pairs)
    study_yaml = _STUDY.substitute(
        name=name,
        root=_inline(data.root),
        task=data.task,
        classes=_inline(list(data.classes)),
        others=_unusual_settings(data),
        eval_size=data.eval_size,
        split=_split_line(len(sizes), has_roles=has_roles),
    )
    return StarterFiles(study_yaml, _space_yaml(name, data, len(sizes), height, width))


def _unusual_settings(data: StudyDataConfig) -> str:
    present, default = (item.model_dump(mode="json") for item in (data, StudyDataConfig()))
    return "".join(
        f"  {key}: {_inline(present[key])}        # {comment}\n"
        for key, comment in _COMMENTS.items()
        if present[key] != default[key]
    )


def _split_line(n_images: int, *, has_roles: bool) -> str:
    if has_roles:
        return "# The data set itself says which images are train, val and test: no split is drawn."
    # Fewer than 20 validation images do not rank trials, so small data sets give up more of them.
    val = min(0.3, max(0.1, math.ceil(20 * MIN_RANKING_IMAGES / n_images) / 20))
    shares = [round(0.9 - val, 2), val, 0.1]
    n_val = count(round(val * n_images), "image")
    return (
        f"split: {{fractions: {json.dumps(shares)}, seed: 0}}"
        f"        # train, val, test; the trials are ranked by about {n_val}"
    )


def _space_yaml(name: str, data: StudyDataConfig, n_images: int, height: int, width: int) -> str:
    size = max((side for side in _SIZES if side <= min(height, width)), default=_SIZES[0])
    batch = 8 if size <= 256 else 4
    loss = "bce" if data.task == "multilabel" else "ce"
    n_train = max(1, round(0.8 * n_images))
    # Tens of epochs, as the first pruning comes after an eighth of them.
    epochs = min(100, max(10, round(_STEPS * batch / n_train / 10) * 10))
    return _SPACE.substitute(
        name=name,
        n_images=n_images,
        loss=loss,
        loss_key=f"loss.{loss}:".ljust(20),  # as wide as the keys above it
        augment=_AUGMENT if n_images < _FEW_IMAGES else "",
        size=size,
        width=width,
        height=height,
        tiles=_TILES if max(height, width) > _LARGE_PX else "",
        epochs=epochs,
        steps=f"{epochs * math.ceil(n_train / batch):,}",
        batch=batch,
    )


def _inline(value: Any) -> str:
    """Format a value in one line of YAML. JSON is YAML; plain text stays plain where it may."""
    if isinstance(value, list):
        return f"[{', '.join(map(_inline, value))}]"
    if isinstance(value, str):
        try:
            # In brackets, where commas and brackets end a text, too.
            if strict_yaml.load_yaml(f"[{value}] # b", source="").value == [value]:
                return value
        except ConfigError:
            pass
    return json.dumps(value, ensure_ascii=False)
