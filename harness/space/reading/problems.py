"""The problems of one space, gathered with their lines and raised together."""

import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from harness.core.errors import ConfigError

DocumentPath = tuple[str | int, ...]  # keys and positions from the top of the document
MAX_PROBLEMS = 100  # enough to see that a file is something else altogether


@dataclass
class ProblemCollector:
    """Collects `place: key: what`, or `place:line: key: what` where lines are known."""

    source: str
    line_of: Callable[[DocumentPath], int] | None = None
    unreadable_keys: set[str] = field(default_factory=set)  # full keys that could not be read
    unread_paths: Collection[
        DocumentPath
    ] = ()  # whose values are unknown, as has been said already
    _problems: list[tuple[int, str]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self._problems)

    def add(
        self,
        path: DocumentPath,
        message: str,
        *,
        name: str = "",
        unreadable_keys: Sequence[str] = (),
    ) -> None:
        """Note one problem.

        Args:
            path: Where it stands in the document.
            message: What is wrong, and what would be right.
            name: The key it is about; by default the spot itself.
            unreadable_keys: Full keys about which nothing more should be said.

        Raises:
            ConfigError: with 100 problems, when there is one more; reading on would be of no use.
        """
        if len(self._problems) == MAX_PROBLEMS:
            self._problems.append((sys.maxsize, f"{self.source}: and more; the rest was not read"))
            self.raise_any()
        self.unreadable_keys.update(unreadable_keys)
        if any(self._is_consequence(path, unread) for unread in self.unread_paths):
            return
        line = 0 if self.line_of is None else self.line_of(path)
        location = self.location(path)
        label = name or ".".join(str(part) for part in path)
        self._problems.append(
            (line, f"{location}: {label}: {message}" if label else f"{location}: {message}")
        )

    def location(self, path: DocumentPath) -> str:
        """The place of a spot, with its line where lines are known."""
        return self.source if self.line_of is None else f"{self.source}:{self.line_of(path)}"

    def add_line(self, line: int, message: str) -> None:
        """Note what is wrong with the text itself."""
        self._problems.append((line, f"{self.source}:{line}: {message}"))

    @staticmethod
    def _is_consequence(path: DocumentPath, unread: DocumentPath) -> bool:
        """True if a problem at `path` follows from the missing value: in it, or in its parent."""
        min_length = max(len(unread) - 1, 2)
        return path[: len(unread)] == unread or (
            len(path) >= min_length and unread[: len(path)] == path
        )

    def raise_any(self) -> None:
        """Raise ConfigError with all problems in order of lines, if there are any."""
        if not self._problems:
            return
        lines = [text for _, text in sorted(self._problems, key=lambda problem: problem[0])]
        raise ConfigError(lines)
