"""Read the document of a space in one pass and note every problem."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from harness.core.errors import ConfigError
from harness.space.checks import feasibility, inactive
from harness.space.conditions import find_cycle, read_condition, sort_by_dependency, with_condition
from harness.space.keys import closest_keys, full_key, known_keys, setting_problem
from harness.space.parameters import Condition, Parameter
from harness.space.reading.enqueue import check_enqueue_rows, enqueue_value
from harness.space.reading.fields import read_parameter
from harness.space.reading.problems import DocumentPath, ProblemCollector
from harness.space.reading.row_space import row_problems, space_from_rows
from harness.space.reading.sections import check_sections, get_section, read_labels
from harness.space.space import AllowedValues, SearchSpace


@dataclass
class SpaceReader:
    """Reader of one document.

    Legal parts are stored even if others have problems, so that later sections can be checked
    against them and one run reports all problems.

    Attributes:
        is_document: False if only fixed values are read, which are not part of a space's file.
        overrides: Values that override `fixed` later; None if rows are not to be checked.
        searched: Full keys under `parameters`, including those that could not be read.
        never_searched: Full keys under `fixed` that are not under `parameters` too.
    """

    document: Any
    legal: AllowedValues
    problems: ProblemCollector
    is_document: bool = True
    overrides: Mapping[str, Any] | None = None
    searched: set[str] = field(default_factory=set)
    parameters: dict[str, Parameter] = field(default_factory=dict)
    fixed: dict[str, Any] = field(default_factory=dict)
    never_searched: set[str] = field(default_factory=set)

    def read(self) -> SearchSpace:
        """The space of the document. Raises ConfigError with every problem.

        The order of sections matters: `fixed` is compared with the searched keys, conditions with
        the values of both, and `forbid` and `enqueue` with all of them.
        """
        check_sections(self.document, self.legal, self.problems)
        if self.document.get("rows"):
            return self._read_row_space()
        self._read_parameters()
        self.read_fixed()
        if not isinstance(self.document.get("parameters") or {}, dict):
            self.problems.raise_any()  # references to parameters cannot be checked without them
        self._read_conditions()
        ordered = self._sort_parameters()
        forbid, enqueue = self._read_forbid(), self._read_enqueue()
        return self._checked(SearchSpace(ordered, self.fixed, forbid, enqueue))

    def read_with(self, space: SearchSpace) -> SearchSpace:
        """A checked space with the fixed values of this document, which has no other section.

        Parameters, rules and rows were checked when the space was read; only checks that depend on
        fixed values are repeated.
        """
        self.searched, self.parameters = set(space.by_key), dict(space.by_key)
        self.read_fixed()
        if not space.rows:
            return self._checked(replace(space, fixed=self.fixed))
        self.problems.raise_any()
        return self._make_row_space(space.rows, space.labels, space.row_locations)

    def _checked(self, space: SearchSpace) -> SearchSpace:
        """The space itself. Raises ConfigError if its settings contradict each other."""
        for key, message in inactive.inactive_parameters(
            space, self.legal, self.problems.unreadable_keys
        ):
            section = "parameters" if key in self.parameters else "fixed"
            self.problems.add(self._written_path(section, key), message, name=key)
        check_enqueue_rows(space, self.problems)
        if not self.problems.unreadable_keys:
            self._check_fixed(space)
        self.problems.raise_any()
        # Last, since every other problem may also be the reason why nothing can be trained.
        reason = feasibility.infeasibility_reason(space)
        if reason is not None:
            self.problems.add(("parameters",), reason)
        self.problems.raise_any()
        return space

    def _check_fixed(self, space: SearchSpace) -> bool:
        """Note conflicts of fixed values at the last of their keys; True if there are any."""
        conflicts = list(feasibility.fixed_conflicts(space))
        for keys, message in conflicts:
            self.problems.add(
                self._written_path("fixed", keys[-1]), message, name=" and ".join(keys)
            )
        return bool(conflicts)

    def _read_row_space(self) -> SearchSpace:
        """The space of a document with `rows`, each of which is one trial."""
        for name in ("parameters", "forbid", "enqueue"):
            if self.document.get(name):
                self.problems.add((name,), f"{name} cannot be combined with rows; keep one")
        rows = [
            self._read_listed_row(row, ("rows", i)) for i, row in enumerate(self._section("rows"))
        ]
        self.searched |= {key for row in rows for key in row}
        self.problems.unreadable_keys.clear()  # a wrong key in one row does not affect the others
        self.read_fixed()
        labels = read_labels(self.document, len(rows), self.problems)
        if self.overrides is not None and not self.problems.unreadable_keys:
            fixed = {**self.fixed, **self.overrides}
            if not self._check_fixed(SearchSpace(fixed=fixed, rows=tuple(rows))):
                self._check_rows(rows, fixed)
        self.problems.raise_any()
        locations = [self.problems.location(("rows", i)) for i in range(len(rows))]
        return self._make_row_space(
            rows, labels, [] if self.problems.line_of is None else locations
        )

    def _make_row_space(
        self,
        rows: Sequence[dict[str, Any]],
        labels: Sequence[dict[str, str]],
        locations: Sequence[str],
    ) -> SearchSpace:
        try:
            return space_from_rows(rows, self.fixed, labels=labels, locations=locations)
        except ConfigError as error:
            for problem in error.problems:
                self.problems.add(("rows",), problem)
            self.problems.raise_any()
            raise

    def _check_rows(self, rows: list[dict[str, Any]], fixed: dict[str, Any]) -> None:
        """Note the rows that cannot be trained, except rows with problems of single values."""
        raw_rows = self._section("rows")
        for i, row in enumerate(rows):
            if not isinstance(raw_rows[i], dict) or len(row) < len(raw_rows[i]):
                continue
            short_keys = dict(zip(row, raw_rows[i], strict=True))
            for key, message in row_problems(row, fixed, self.legal):
                path: DocumentPath = ("rows", i, short_keys[key]) if key else ("rows", i)
                self.problems.add(path, message, name=f"rows: {key}" if key else "rows")

    def _read_listed_row(self, raw: Any, path: DocumentPath) -> dict[str, Any]:
        row: dict[str, Any] = {}
        if not isinstance(raw, dict):
            self.problems.add(path, "must name keys and values, e.g. {optim.lr: 3e-4}", name="rows")
            return row
        seen: set[str] = set()
        for short_key, value in raw.items():
            key = self._resolve_key(short_key, (*path, short_key), seen)
            problem = None if key is None else setting_problem(key, value, self.legal)
            if problem is not None:
                self.problems.add((*path, short_key), problem, name=f"rows: {key}")
            elif key is not None:
                row[key] = value
        return row

    def read_fixed(self) -> None:
        """Read the section `fixed` into `self.fixed` and note every problem."""
        seen: set[str] = set()
        for short_key, value in self._section("fixed").items():
            path = ("fixed", short_key)
            key = self._resolve_key(short_key, path, seen)
            if key is None:
                continue
            problem = setting_problem(key, value, self.legal)
            if key not in self.searched:
                self.never_searched.add(key)
            if key in self.searched:
                self.problems.add(path, self._fixed_and_searched_message(), name=key)
            elif problem is not None:
                self.problems.add(path, problem, name=key, unreadable_keys=[key])
            else:
                self.fixed[key] = value

    def _fixed_and_searched_message(self) -> str:
        if self.is_document:
            return "both fixed and searched; keep it under parameters: or under fixed:"
        return "searched by this space; remove it from the space, or do not set it"

    def _section(self, name: str) -> Any:
        return get_section(self.document, name)

    def _resolve_key(self, short_key: str, path: DocumentPath, seen: set[str]) -> str | None:
        """The full key, now in `seen`; None after noting that it is unknown or repeated."""
        try:
            key = full_key(short_key, self.legal)
        except ConfigError as error:
            # The key that was probably meant counts as unreadable: rules that name it would
            # otherwise be reported for the same misspelling.
            likely = closest_keys(short_key, known_keys(self.legal))
            for problem in error.problems:
                self.problems.add(path, problem, name=short_key, unreadable_keys=likely)
            return None
        if key in seen:
            self.problems.add(path, "appears twice in this section; keep one", name=key)
            return None
        seen.add(key)
        return key

    def _read_parameters(self) -> None:
        for short_key, raw in self._section("parameters").items():
            path = ("parameters", short_key)
            key = self._resolve_key(short_key, path, self.searched)
            if key is None:
                continue

            # Defaults bind this iteration's values: a closure would see those of the last one.
            def add_problem(
                name: str, message: str, path: DocumentPath = path, key: str = key
            ) -> None:
                target = (*path, name) if name else path
                self.problems.add(target, message, name=key, unreadable_keys=[key])

            parameter = read_parameter(key, raw, self.legal, add_problem)
            if parameter is not None:
                self.parameters[key] = parameter

    def _read_conditions(self) -> None:
        for short_key, raw in self._section("parameters").items():
            if not isinstance(raw, dict) or raw.get("when") in (None, {}):
                continue
            path = ("parameters", short_key, "when")
            condition = self._read_condition(raw["when"], path, f"{short_key}: when")
            try:
                key = full_key(short_key, self.legal)
            except ConfigError:
                continue
            if condition is None:
                self.problems.unreadable_keys.add(key)
            elif key in self.parameters:
                self.parameters[key] = with_condition(self.parameters[key], condition)

    def _read_condition(self, raw: Any, path: DocumentPath, name: str) -> Condition | None:
        return read_condition(raw, path, self.parameters, self.legal, self.problems, name)

    def _sort_parameters(self) -> tuple[Parameter, ...]:
        while keys := find_cycle(list(self.parameters.values())):
            message = f"circular conditions: {' → '.join(keys)}"
            path = (*self._written_path("parameters", keys[0]), "when")
            self.problems.add(path, message, name="when", unreadable_keys=keys)
            for key in set(keys):
                del self.parameters[key]
        return sort_by_dependency(list(self.parameters.values()))

    def _read_forbid(self) -> tuple[Condition, ...]:
        rules: list[Condition] = []
        for i, raw in enumerate(self._section("forbid")):
            rule = self._read_condition(raw, ("forbid", i), "forbid")
            if rule is None:
                continue
            if not (self.searched | self.problems.unreadable_keys - self.never_searched) & set(
                rule
            ):
                message = "names no searched key, so it forbids everything or nothing"
                self.problems.add(("forbid", i), message, name="forbid")
                continue
            rules.append(rule)
        return tuple(rules)

    def _read_enqueue(self) -> tuple[dict[str, Any], ...]:
        rows = self._section("enqueue")
        return tuple(self._read_enqueue_row(row, ("enqueue", i)) for i, row in enumerate(rows))

    def _read_enqueue_row(self, raw: Any, path: DocumentPath) -> dict[str, Any]:
        row: dict[str, Any] = {}
        seen: set[str] = set()
        if not isinstance(raw, dict) or not raw:
            self.problems.add(
                path, "must name keys and values, e.g. {optim.lr: 3e-4}", name="enqueue"
            )
            return row
        for short_key, value in raw.items():
            key = self._resolve_key(short_key, (*path, short_key), seen)
            if key is None or key in self.problems.unreadable_keys - self.never_searched:
                continue
            try:
                row[key] = enqueue_value(key, value, self.parameters, self.fixed)
            except ConfigError as error:
                self.problems.add((*path, short_key), str(error), name=f"enqueue: {key}")
        return row

    def _written_path(self, section: str, key: str) -> DocumentPath:
        """The path of a full key in a section, where it may be written in its short form."""
        for short_key in self._section(section):
            if key in (
                short_key,
                *([] if "." in short_key else [f"{key.rpartition('.')[0]}.{short_key}"]),
            ):
                return (section, short_key)
        return (section,)
