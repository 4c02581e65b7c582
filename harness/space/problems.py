"""The problems of one space, gathered with their lines and raised together."""

import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from harness.errors import ConfigError

Spot = tuple[str | int, ...]  # keys and positions from the top of the document
MOST = 100  # enough to see that a file is something else altogether


@dataclass
class Problems:
    """Collects `place: key: what`, or `place:line: key: what` where lines are known."""

    place: str
    line: Callable[[Spot], int] | None = None
    broken: set[str] = field(default_factory=set)  # full keys that could not be read
    unread: Collection[Spot] = ()  # whose values are unknown, as has been said already
    _found: list[tuple[int, str]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, spot: Spot, what: str, *, name: str = "", breaks: Sequence[str] = ()) -> None:
        """Note one problem.

        Args:
            spot: Where it stands in the document.
            what: What is wrong, and what would be right.
            name: The key it is about; by default the spot itself.
            breaks: Full keys about which nothing more should be said.

        Raises:
            ConfigError: with 100 problems, when there is one more; reading on would be of no use.
        """
        if len(self._found) == MOST:
            self._found.append((sys.maxsize, f"{self.place}: and more; the rest was not read"))
            self.raise_any()
        self.broken.update(breaks)
        if any(self._follows(spot, unread) for unread in self.unread):
            return
        line = 0 if self.line is None else self.line(spot)
        where = self.where(spot)
        shown = name or ".".join(str(part) for part in spot)
        self._found.append((line, f"{where}: {shown}: {what}" if shown else f"{where}: {what}"))

    def where(self, spot: Spot) -> str:
        """The place of a spot, with its line where lines are known."""
        return self.place if self.line is None else f"{self.place}:{self.line(spot)}"

    def add_line(self, line: int, what: str) -> None:
        """Note what is wrong with the text itself."""
        self._found.append((line, f"{self.place}:{line}: {what}"))

    @staticmethod
    def _follows(spot: Spot, unread: Spot) -> bool:
        """Whether a problem at `spot` comes of the missing value: in it, or in what holds it."""
        least = max(len(unread) - 1, 2)
        return spot[: len(unread)] == unread or (len(spot) >= least and unread[: len(spot)] == spot)

    def raise_any(self) -> None:
        """Raise ConfigError with all problems in order of lines, if there are any."""
        if not self._found:
            return
        lines = [text for _, text in sorted(self._found, key=lambda problem: problem[0])]
        raise ConfigError(lines)
