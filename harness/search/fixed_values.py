"""Fixed values of a study: study.yaml's, `--set` over them, what is taken filled in."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness import strict_yaml
from harness.errors import ConfigError
from harness.paths import StudyPaths
from harness.search.taking import Taking, is_reference, take
from harness.space.reading import lay_over
from harness.space.schema import Legal, Space


@dataclass(frozen=True)
class FixedValues:
    """What is fixed, by full or short key, and where it was written.

    Attributes:
        stored: of study.yaml.
        asked: `--set`.
        place: what problems call study.yaml.
    """

    stored: Taking
    asked: Taking
    place: str

    @classmethod
    def take(
        cls,
        stored: Mapping[str, Any],
        asked: Mapping[str, Any],
        paths: StudyPaths,
        legal: Legal,
        *,
        beside: StudyPaths | None = None,
    ) -> "FixedValues":
        """Look up what is to come from other studies; what cannot be had is a problem for later.

        Args:
            stored: as study.yaml has them.
            paths: the study's folder.
            beside: the folder beside which other studies are looked for, if not that one.
        """
        lines = _lines(paths) if any(map(is_reference, stored.values())) else {}
        place, near = str(paths.study_yaml), beside or paths
        return cls(
            take(stored, near, lambda key: f"{place}:{lines.get(key, 1)}", legal),
            take(asked, near, lambda key: "--set", legal),
            place,
        )

    @property
    def plain(self) -> dict[str, Any]:
        """Every value that could be had, `--set` last."""
        return self.stored.fixed | self.asked.fixed

    def raise_any(self) -> None:
        """Raises ConfigError with everything that could not be taken."""
        problems = self.stored.problems + self.asked.problems
        if problems:
            raise ConfigError(problems)

    def over(self, space: Space, legal: Legal) -> Space:
        """The space under these values.

        Raises:
            ConfigError: everything that could not be taken, and everything that does not fit.
        """
        problems = self.stored.problems + self.asked.problems
        for taking, name in ((self.stored, self.place), (self.asked, "--set")):
            try:
                space = lay_over(space, taking.fixed, place=name, legal=legal)
            except ConfigError as error:
                problems += error.problems
        if problems:
            raise ConfigError(problems)
        return space

    def taken_in(self, laid: Space) -> dict[str, Any]:
        """What was taken and not replaced by a plain `--set`, as study.yaml records it."""
        both = self.stored.taken | self.asked.taken
        return {
            key: taken.model_dump(mode="json")
            for key, taken in both.items()
            if laid.fixed.get(key) == taken.value
        }


def _lines(paths: StudyPaths) -> dict[str, int]:
    """The line of each fixed value in study.yaml."""
    text = paths.study_yaml.read_text(encoding="utf-8")
    document = strict_yaml.load(text, place=str(paths.study_yaml))
    return {key: document.line(("fixed", key)) for key in document.value["fixed"]}
