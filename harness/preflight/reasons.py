"""Why a network is impossible, in one line, from what the libraries raise."""

import re
from dataclasses import dataclass, replace
from typing import Literal

from harness.errors import ConfigError
from harness.preflight.networks import Network

Kind = Literal[
    "depth", "dilation", "size", "output", "batch", "option", "weights", "encoder", "other"
]
DILATING = ("DeepLabV3", "DeepLabV3Plus", "PAN")
LONGEST = 200

_PATTERNS: tuple[tuple[Kind, str], ...] = (
    ("option", r"model\.options|no such option|option \w+"),
    ("batch", r"more than 1 (value per channel|spatial element)"),
    ("dilation", r"dilat|output_stride"),
    ("encoder", r"not support(ed)? (for|encoder_name)|is not supported|dynamic_img_size"),
    ("encoder", r"downsampling pattern|vision transformers|features_only|forward_intermediates"),
    ("encoder", r"model\.encoder_name"),
    ("depth", r"depth|out_indices|out of range|length 0|\[\d+, 0, "),
    ("size", r"divisible|doesn't match model|too small|[Kk]ernel size|invalid for input of size"),
    ("size", r"must match the size|Sizes of tensors must match|[Ii]nput (height|width|size)"),
    ("size", r"broadcast|smaller than|greater than actual input|output size"),
)
_GOT = re.compile(r" \(got [^()]*\)$")  # stands in the network's name
_DIVISOR = re.compile(r"divisible by (\d+)")
_REPEATED = re.compile(r"^model: .*? cannot be built with .*?: ")


@dataclass(frozen=True)
class Reason:
    """Why not: a word for the table, and a sentence."""

    kind: Kind
    text: str

    def __str__(self) -> str:
        return self.text


def reason_for(error: Exception, network: Network) -> Reason:
    """Name the reason for an exception that a network raised."""
    problems = error.problems if isinstance(error, ConfigError) else [str(error)]
    plain = (_REPEATED.sub("", " ".join(problem.split())) for problem in problems)
    text = "; ".join(_GOT.sub("", problem) for problem in plain)
    cause = error.__cause__ or error
    name = type(cause).__name__
    kind: Kind = next((kind for kind, pattern in _PATTERNS if re.search(pattern, text)), "other")
    if not text or text == name:
        text = f"{name} while it is built"
        kind = "dilation" if network.arch in DILATING else kind
    elif kind == "other":
        text = f"{name}: {text}"
    return Reason(kind, _worded(kind, _cut(text), network))


def or_larger(reason: Reason, size: int) -> Reason:
    """The reason against a batch of one, with an image size at which one image is enough."""
    return replace(reason, text=f"{reason.text}, or data.image_size {size}")


def wrong_output(got: tuple[int, ...], wanted: tuple[int, ...]) -> Reason:
    """The logits have another shape than the masks."""
    return Reason("output", f"wrong output size: answers with {got}, needed are {wanted}")


def _worded(kind: Kind, text: str, network: Network) -> str:
    match kind:
        case "dilation":
            return f"dilation: {network.arch} dilates its encoder, {network.encoder_name}: {text}"
        case "batch":
            height, width = network.height_width
            return (
                f"batch of one: BatchNorm sees a single value per channel at {height} x {width} "
                "px; use train.batch_size 2 or more (and two training images at least)"
            )
        case "size":
            height, width = network.height_width
            divisor = _DIVISOR.search(text)
            if divisor is not None:  # the library advises to pad, which is not how sizes are set
                text = _dividing(int(divisor[1]), network)
            return f"size: not at {height} x {width} px: {text}"
        case "depth" | "encoder" | "option":
            return f"{kind}: {text}"
    return text


def _dividing(n: int, network: Network) -> str:
    """Name the sizes next to those of a network that are divisible by n."""
    sizes = [(max(side // n, 1) * n, -(-side // n) * n) for side in network.height_width]
    below, above = ([low for low, _ in sizes], [high for _, high in sizes])
    shown = dict.fromkeys(str(s[0] if s[0] == s[1] else s) for s in (below, above))
    return f"both must be divisible by {n}; set data.image_size to {' or '.join(shown)}"


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
