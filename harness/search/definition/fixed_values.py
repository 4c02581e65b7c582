"""Fixed values of a study: study.yaml's, `--set` over them, what is taken filled in."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.core import strict_yaml
from harness.core.errors import ConfigError
from harness.core.paths import StudyPaths
from harness.search.definition.value_references import (
    ResolvedValues,
    is_reference,
    resolve_references,
)
from harness.space.reading.load_space import with_fixed
from harness.space.space import AllowedValues, SearchSpace


@dataclass(frozen=True)
class FixedValues:
    """What is fixed, by full or short key, and where it was written.

    Attributes:
        stored: of study.yaml.
        overrides: `--set`.
        location: what problems call study.yaml.
    """

    stored: ResolvedValues
    overrides: ResolvedValues
    location: str

    @classmethod
    def resolve(
        cls,
        stored: Mapping[str, Any],
        overrides: Mapping[str, Any],
        paths: StudyPaths,
        legal: AllowedValues,
        *,
        search_from: StudyPaths | None = None,
    ) -> "FixedValues":
        """Look up what is to come from other studies; what cannot be had is a problem for later.

        Args:
            stored: as study.yaml has them.
            paths: the study's folder.
            search_from: the folder beside which other studies are looked for, if not that one.
        """
        lines = _line_numbers(paths) if any(map(is_reference, stored.values())) else {}
        location, search_paths = str(paths.study_yaml), search_from or paths
        return cls(
            resolve_references(
                stored, search_paths, lambda key: f"{location}:{lines.get(key, 1)}", legal
            ),
            resolve_references(overrides, search_paths, lambda key: "--set", legal),
            location,
        )

    @property
    def plain_values(self) -> dict[str, Any]:
        """Every value that could be had, `--set` last."""
        return self.stored.fixed | self.overrides.fixed

    def raise_problems(self) -> None:
        """Raises ConfigError with everything that could not be taken."""
        problems = self.stored.problems + self.overrides.problems
        if problems:
            raise ConfigError(problems)

    def apply_to(self, space: SearchSpace, legal: AllowedValues) -> SearchSpace:
        """The space under these values.

        Raises:
            ConfigError: everything that could not be taken, and everything that does not fit.
        """
        problems = self.stored.problems + self.overrides.problems
        for resolved, name in ((self.stored, self.location), (self.overrides, "--set")):
            try:
                space = with_fixed(space, resolved.fixed, source=name, legal=legal)
            except ConfigError as error:
                problems += error.problems
        if problems:
            raise ConfigError(problems)
        return space

    def references_in(self, space: SearchSpace) -> dict[str, Any]:
        """What was taken and not replaced by a plain `--set`, as study.yaml records it."""
        references = self.stored.references | self.overrides.references
        return {
            key: reference.model_dump(mode="json")
            for key, reference in references.items()
            if space.fixed.get(key) == reference.value
        }


def _line_numbers(paths: StudyPaths) -> dict[str, int]:
    """The line of each fixed value in study.yaml."""
    text = paths.study_yaml.read_text(encoding="utf-8")
    document = strict_yaml.load_yaml(text, source=str(paths.study_yaml))
    return {key: document.line(("fixed", key)) for key in document.value["fixed"]}
