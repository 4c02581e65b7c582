"""Decision rules in words, for the page."""

from collections.abc import Sequence

from harness.config.decision_rule import ClassDecision


def describe_rule(names: Sequence[str], entries: Sequence[ClassDecision]) -> str:
    """Threshold and clean-up of each class, e.g. `polyp: p ≥ 0.42, objects of 30 px or more`."""
    texts = [_describe_entry(entry) for entry in entries]
    if len(set(texts)) == 1:
        return texts[0]
    return "; ".join(f"{name}: {text}" for name, text in zip(names, texts, strict=True))


def _describe_entry(entry: ClassDecision) -> str:
    parts = ["most probable class" if entry.threshold is None else f"p ≥ {entry.threshold:g}"]
    if entry.fill_holes:
        parts.append("holes filled")
    if entry.min_size > 1:
        parts.append(f"objects of {entry.min_size} px or more")
    if entry.largest_only:
        parts.append("largest object only")
    return ", ".join(parts)
