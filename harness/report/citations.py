"""References of a text, numbered in the order in which they are first named."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from harness.report.wording import among


@dataclass
class Cited:
    """References in the order in which they are first named."""

    found: list[str] = field(default_factory=list)

    def __call__(self, text: str, reference: str | None) -> str:
        """The text with the number of its reference, `U-Net [1]`; as it is without one."""
        if reference is None:
            return text
        if reference not in self.found:
            self.found.append(reference)
        return f"{text} [{self.found.index(reference) + 1}]"

    def each(self, names: Iterable[str], of: dict[str, str]) -> str:
        """Several names, each with its reference."""
        return among([self(name, of.get(name)) for name in names])
