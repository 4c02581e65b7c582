"""Turn the exceptions of libraries into one-line reasons why a network is impossible."""

import re
from dataclasses import dataclass, replace
from typing import Literal

from harness.core.errors import ConfigError
from harness.preflight.network_key import NetworkKey

ReasonKind = Literal[
    "depth", "dilation", "size", "output", "batch", "option", "weights", "encoder", "other"
]
DILATING_ARCHS = ("DeepLabV3", "DeepLabV3Plus", "PAN")
MAX_REASON_CHARS = 200

_PATTERNS: tuple[tuple[ReasonKind, str], ...] = (
    ("option", r"model\.options|unknown option|option \w+"),
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
_GOT_VALUE = re.compile(r" \(got [^()]*\)$")  # the value is already in the name of the network
_DIVISOR = re.compile(r"divisible by (\d+)")
_REPEATED_PREFIX = re.compile(r"^model: .*? cannot be built with .*?: ")


@dataclass(frozen=True)
class RefusalReason:
    """Reason of a refusal: a word for the table, and a sentence."""

    kind: ReasonKind
    text: str

    def __str__(self) -> str:
        return self.text


def reason_from_error(error: Exception, network: NetworkKey) -> RefusalReason:
    """Derive the reason from an exception that a network raised."""
    problems = error.problems if isinstance(error, ConfigError) else [str(error)]
    messages = (_REPEATED_PREFIX.sub("", " ".join(problem.split())) for problem in problems)
    text = "; ".join(_GOT_VALUE.sub("", problem) for problem in messages)
    cause = error.__cause__ or error
    name = type(cause).__name__
    kind: ReasonKind = next(
        (kind for kind, pattern in _PATTERNS if re.search(pattern, text)), "other"
    )
    if not text or text == name:
        text = f"{name} while the network is built"
        kind = "dilation" if network.arch in DILATING_ARCHS else kind
    elif kind == "other":
        text = f"{name}: {text}"
    return RefusalReason(kind, _format_reason(kind, _truncate(text), network))


def suggest_image_size(reason: RefusalReason, size: int) -> RefusalReason:
    """Add an image size at which a batch of one works to the reason."""
    return replace(reason, text=f"{reason.text}, or data.image_size {size}")


def wrong_output_reason(
    output_shape: tuple[int, ...], expected_shape: tuple[int, ...]
) -> RefusalReason:
    """Reason for logits whose shape differs from that of the masks."""
    return RefusalReason(
        "output", f"wrong output size: returns {output_shape} instead of {expected_shape}"
    )


def _format_reason(kind: ReasonKind, text: str, network: NetworkKey) -> str:
    match kind:
        case "dilation":
            return f"dilation: {network.arch} dilates its encoder, {network.encoder_name}: {text}"
        case "batch":
            height, width = network.height_width
            return (
                f"batch of one: BatchNorm sees a single value per channel at {height} x {width} "
                "px; use train.batch_size 2 or more (and at least two training images)"
            )
        case "size":
            height, width = network.height_width
            divisor = _DIVISOR.search(text)
            if divisor is not None:  # the library advises padding, but sizes are settings here
                text = _suggest_divisible_sizes(int(divisor[1]), network)
            return f"size: impossible at {height} x {width} px: {text}"
        case "depth" | "encoder" | "option":
            return f"{kind}: {text}"
    return text


def _suggest_divisible_sizes(n: int, network: NetworkKey) -> str:
    """Suggest the sizes divisible by n that are closest to those of the network."""
    sizes = [(max(side // n, 1) * n, -(-side // n) * n) for side in network.height_width]
    below, above = ([low for low, _ in sizes], [high for _, high in sizes])
    suggestions = dict.fromkeys(str(s[0] if s[0] == s[1] else s) for s in (below, above))
    return f"both must be divisible by {n}; set data.image_size to {' or '.join(suggestions)}"


def _truncate(text: str) -> str:
    return text if len(text) <= MAX_REASON_CHARS else f"{text[:MAX_REASON_CHARS]}…"
