"""References of a text, numbered in the order in which they are first named."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from harness.core.text import join_words


@dataclass
class CitationList:
    """References in the order in which they are first named."""

    references: list[str] = field(default_factory=list)

    def __call__(self, text: str, reference: str | None) -> str:
        """The text with the number of its reference, `U-Net [1]`; as it is without one."""
        if reference is None:
            return text
        if reference not in self.references:
            self.references.append(reference)
        return f"{text} [{self.references.index(reference) + 1}]"

    def cite_all(self, names: Iterable[str], reference_of: dict[str, str]) -> str:
        """Several names, each with its reference."""
        return join_words([self(name, reference_of.get(name)) for name in names])
