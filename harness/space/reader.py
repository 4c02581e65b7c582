"""One pass over the document of a space: what can be read is kept, and every mistake noted."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.errors import ConfigError
from harness.space import checks, possible
from harness.space.conditions import circle, in_order, read_condition, with_condition
from harness.space.fields import read_parameter
from harness.space.keys import full_key, known_keys, likely_keys, problem_with
from harness.space.listed import row_problems, space_of_rows
from harness.space.parameters import Condition, Parameter
from harness.space.problems import Problems, Spot
from harness.space.rows import check_rows, row_value
from harness.space.schema import Legal, Space
from harness.space.sections import check_sections, read_labels, section


@dataclass
class Reader:
    """One pass over a document; what can be read is kept, so that later sections see it."""

    document: Any
    legal: Legal
    problems: Problems
    by_hand: bool = True  # a document, in which problems are found below `fixed`, not beside it
    beside: Mapping[str, Any] | None = None  # laid over `fixed` later; None: rows are not checked
    searched: set[str] = field(default_factory=set)  # full keys, also of what could not be read
    parameters: dict[str, Parameter] = field(default_factory=dict)
    fixed: dict[str, Any] = field(default_factory=dict)
    never: set[str] = field(default_factory=set)  # full keys under `fixed`, never searched

    def read(self) -> Space:
        check_sections(self.document, self.legal, self.problems)
        if self.document.get("rows"):
            return self._read_listed()
        self._read_parameters()
        self.read_fixed()
        if not isinstance(self.document.get("parameters") or {}, dict):
            self.problems.raise_any()  # what refers to them can be neither right nor wrong
        self._read_conditions()
        ordered = self._ordered()
        forbid, enqueue = self._read_forbid(), self._read_enqueue()
        space = Space(ordered, self.fixed, forbid, enqueue)
        for key, what in checks.unfit(space, self.legal, self.problems.broken):
            section = "parameters" if key in self.parameters else "fixed"
            self.problems.add(self._written(section, key), what, name=key)
        check_rows(space, self.problems)
        if not self.problems.broken:
            self._check_fixed(space)
        self.problems.raise_any()
        reason = possible.nothing_allowed(space)
        if reason is not None:
            self.problems.add(("parameters",), reason)
        self.problems.raise_any()
        return space

    def _check_fixed(self, space: Space) -> bool:
        """Note, at the last of the keys, what fixed values make impossible; whether any do."""
        conflicts = list(possible.fixed_conflicts(space))
        for keys, what in conflicts:
            self.problems.add(self._written("fixed", keys[-1]), what, name=" and ".join(keys))
        return bool(conflicts)

    def _read_listed(self) -> Space:
        """A space of rows: each a trial of its own."""
        for name in ("parameters", "forbid", "enqueue"):
            if self.document.get(name):
                self.problems.add((name,), f"{name} beside rows; a space has one or the other")
        rows = [self._listed_row(row, ("rows", i)) for i, row in enumerate(self._section("rows"))]
        self.searched |= {key for row in rows for key in row}
        self.problems.broken.clear()  # a wrong key in one row says nothing about the others
        self.read_fixed()
        labels = read_labels(self.document, len(rows), self.problems)
        if self.beside is not None and not self.problems.broken:
            fixed = {**self.fixed, **self.beside}
            if not self._check_fixed(Space(fixed=fixed, rows=tuple(rows))):
                self._check_listed(rows, fixed)
        self.problems.raise_any()
        places = [self.problems.where(("rows", i)) for i in range(len(rows))]
        places = [] if self.problems.line is None else places
        try:
            return space_of_rows(rows, self.fixed, labels=labels, places=places)
        except ConfigError as error:
            for problem in error.problems:
                self.problems.add(("rows",), problem)
            self.problems.raise_any()
            raise

    def _check_listed(self, rows: list[dict[str, Any]], fixed: dict[str, Any]) -> None:
        """Note what cannot be trained, of the rows that could be read as a whole."""
        written = self._section("rows")
        for i, row in enumerate(rows):
            if not isinstance(written[i], dict) or len(row) < len(written[i]):
                continue
            shorts = dict(zip(row, written[i], strict=True))
            for key, what in row_problems(row, fixed, self.legal):
                spot: Spot = ("rows", i, shorts[key]) if key else ("rows", i)
                self.problems.add(spot, what, name=f"rows: {key}" if key else "rows")

    def _listed_row(self, written: Any, path: Spot) -> dict[str, Any]:
        row: dict[str, Any] = {}
        if not isinstance(written, dict):
            self.problems.add(path, "must name keys and values, e.g. {optim.lr: 3e-4}", name="rows")
            return row
        taken: set[str] = set()
        for short, value in written.items():
            key = self._key(short, (*path, short), taken)
            problem = None if key is None else problem_with(key, value, self.legal)
            if problem is not None:
                self.problems.add((*path, short), problem, name=f"rows: {key}")
            elif key is not None:
                row[key] = value
        return row

    def read_fixed(self) -> None:
        taken: set[str] = set()
        for short, value in self._section("fixed").items():
            path = ("fixed", short)
            key = self._key(short, path, taken)
            if key is None:
                continue
            problem = problem_with(key, value, self.legal)
            if key not in self.searched:
                self.never.add(key)
            if key in self.searched:
                self.problems.add(path, self._both(), name=key)
            elif problem is not None:
                self.problems.add(path, problem, name=key, breaks=[key])
            else:
                self.fixed[key] = value

    def _both(self) -> str:
        if self.by_hand:
            return "both fixed and searched; keep it under parameters: or under fixed:"
        return "searched by this space; take it out of the space, or do not set it"

    def _section(self, name: str) -> Any:
        return section(self.document, name)

    def _key(self, short: str, path: Spot, taken: set[str]) -> str | None:
        """The full key, entered among those taken; None after noting why there is none."""
        try:
            key = full_key(short, self.legal)
        except ConfigError as error:
            likely = likely_keys(short, known_keys(self.legal))
            for problem in error.problems:
                self.problems.add(path, problem, name=short, breaks=likely)
            return None
        if key in taken:
            self.problems.add(path, "named twice in this section; keep one", name=key)
            return None
        taken.add(key)
        return key

    def _read_parameters(self) -> None:
        for short, written in self._section("parameters").items():
            path = ("parameters", short)
            key = self._key(short, path, self.searched)
            if key is None:
                continue

            def note(name: str, what: str, path: Spot = path, key: str = key) -> None:
                where = (*path, name) if name else path
                self.problems.add(where, what, name=key, breaks=[key])

            parameter = read_parameter(key, written, self.legal, note)
            if parameter is not None:
                self.parameters[key] = parameter

    def _read_conditions(self) -> None:
        for short, written in self._section("parameters").items():
            if not isinstance(written, dict) or written.get("when") in (None, {}):
                continue
            path = ("parameters", short, "when")
            condition = self._condition(written["when"], path, f"{short}: when")
            try:
                key = full_key(short, self.legal)
            except ConfigError:
                continue
            if condition is None:
                self.problems.broken.add(key)
            elif key in self.parameters:
                self.parameters[key] = with_condition(self.parameters[key], condition)

    def _condition(self, written: Any, path: Spot, name: str) -> Condition | None:
        return read_condition(written, path, self.parameters, self.legal, self.problems, name)

    def _ordered(self) -> tuple[Parameter, ...]:
        while keys := circle(list(self.parameters.values())):
            what = f"conditions in a circle: {' → '.join(keys)}"
            spot = (*self._written("parameters", keys[0]), "when")
            self.problems.add(spot, what, name="when", breaks=keys)
            for key in set(keys):
                del self.parameters[key]
        return in_order(list(self.parameters.values()))

    def _read_forbid(self) -> tuple[Condition, ...]:
        rules: list[Condition] = []
        for i, written in enumerate(self._section("forbid")):
            rule = self._condition(written, ("forbid", i), "forbid")
            if rule is None:
                continue
            if not (self.searched | self.problems.broken - self.never) & set(rule):
                what = "names no searched key, so it forbids everything or nothing"
                self.problems.add(("forbid", i), what, name="forbid")
                continue
            rules.append(rule)
        return tuple(rules)

    def _read_enqueue(self) -> tuple[dict[str, Any], ...]:
        rows = self._section("enqueue")
        return tuple(self._read_row(row, ("enqueue", i)) for i, row in enumerate(rows))

    def _read_row(self, written: Any, path: Spot) -> dict[str, Any]:
        row: dict[str, Any] = {}
        taken: set[str] = set()
        if not isinstance(written, dict) or not written:
            self.problems.add(
                path, "must name keys and values, e.g. {optim.lr: 3e-4}", name="enqueue"
            )
            return row
        for short, value in written.items():
            key = self._key(short, (*path, short), taken)
            if key is None or key in self.problems.broken - self.never:
                continue
            try:
                row[key] = row_value(key, value, self.parameters, self.fixed)
            except ConfigError as error:
                self.problems.add((*path, short), str(error), name=f"enqueue: {key}")
        return row

    def _written(self, section: str, key: str) -> Spot:
        """Where a full key stands, which may be written short."""
        for short in self._section(section):
            if key in (short, *([] if "." in short else [f"{key.rpartition('.')[0]}.{short}"])):
                return (section, short)
        return (section,)
