"""Fixed values of a study: those of study.yaml, overridden by `--set`, with references resolved."""

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
    """Fixed values by full or short key, with their sources.

    Attributes:
        stored: values of study.yaml.
        overrides: values of `--set`.
        location: name of study.yaml in error messages.
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
        """Resolve references to other studies; failures are recorded and raised later.

        Args:
            stored: values as written in study.yaml.
            overrides: values of `--set`.
            paths: folder of the study.
            legal: allowed values of each key.
            search_from: folder whose siblings are the other studies, if not that of the study.
        """
        # study.yaml is parsed a second time for line numbers, only where a message may need them.
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
        """Resolved values by key; those of `--set` override those of study.yaml."""
        return self.stored.fixed | self.overrides.fixed

    def raise_problems(self) -> None:
        """Raise the recorded failures.

        Raises:
            ConfigError: at least one reference could not be resolved.
        """
        problems = self.stored.problems + self.overrides.problems
        if problems:
            raise ConfigError(problems)

    def apply_to(self, space: SearchSpace, legal: AllowedValues) -> SearchSpace:
        """Search space with these values fixed.

        Raises:
            ConfigError: all unresolved references, and all values that do not fit the space.
        """
        # All problems are collected first, so that one run reports every mistake.
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
        """Resolved references that no plain `--set` replaced, in the form of study.yaml."""
        # A plain `--set` of the same value keeps the reference: both describe the same setting.
        references = self.stored.references | self.overrides.references
        return {
            key: reference.model_dump(mode="json")
            for key, reference in references.items()
            if space.fixed.get(key) == reference.value
        }


def _line_numbers(paths: StudyPaths) -> dict[str, int]:
    """Line number of each fixed value in study.yaml."""
    text = paths.study_yaml.read_text(encoding="utf-8")
    document = strict_yaml.load_yaml(text, source=str(paths.study_yaml))
    return {key: document.line(("fixed", key)) for key in document.value["fixed"]}
