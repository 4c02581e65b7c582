"""Collector of all problems of a space, which are raised together with their lines."""

import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from harness.core.errors import ConfigError

DocumentPath = tuple[str | int, ...]  # keys and positions from the top of the document
MAX_PROBLEMS = 100  # a file with more is probably not a search space at all


@dataclass
class ProblemCollector:
    """Collects problems as `source: key: problem`, or `source:line: key: problem`.

    Attributes:
        source: Name of the file or option in messages.
        line_of: Returns the line of a path; None if the source has no lines.
        unreadable_keys: Full keys that could not be read. Checks that depend on their values are
            skipped, so that one mistake causes one message.
        unread_paths: Paths whose values are missing because the YAML reader has reported them.
    """

    source: str
    line_of: Callable[[DocumentPath], int] | None = None
    unreadable_keys: set[str] = field(default_factory=set)
    unread_paths: Collection[DocumentPath] = ()
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
            path: Path of the problem in the document.
            message: Description of the problem and of what is allowed.
            name: The key concerned; by default the path itself.
            unreadable_keys: Full keys for which no further problems should be reported.

        Raises:
            ConfigError: there are 100 problems already; the document is not read further.
        """
        if len(self._problems) == MAX_PROBLEMS:
            message = "more problems follow; the rest was not read"
            self._problems.append((sys.maxsize, f"{self.source}: {message}"))
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
        """The source of a path, with its line if lines are known."""
        return self.source if self.line_of is None else f"{self.source}:{self.line_of(path)}"

    def add_line(self, line: int, message: str) -> None:
        """Note a problem of the text itself, e.g. of its YAML syntax."""
        self._problems.append((line, f"{self.source}:{line}: {message}"))

    @staticmethod
    def _is_consequence(path: DocumentPath, unread: DocumentPath) -> bool:
        """True if a problem at `path` is caused by the missing value at `unread`.

        The problem lies at or below the missing value, or at the value that directly contains it.
        """
        # At least two parts, e.g. (parameters, optim.lr): a problem of a whole section is not
        # caused by one value missing in it.
        min_length = max(len(unread) - 1, 2)
        return path[: len(unread)] == unread or (
            len(path) >= min_length and unread[: len(path)] == path
        )

    def raise_any(self) -> None:
        """Raise ConfigError with all problems, sorted by line, if there are any."""
        if not self._problems:
            return
        lines = [text for _, text in sorted(self._problems, key=lambda problem: problem[0])]
        raise ConfigError(lines)
