"""Table of recorded learning curves, its search space, and the nearest network to a draw."""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core import strict_yaml
from harness.core.paths import StudyPaths
from harness.core.records import read_epochs, read_records

DECADE = 10.0  # parameters whose range spans a larger factor are searched on a log scale
FEW = 8  # integers with at most this many values become choices
ABSENT = object()


@dataclass(frozen=True)
class Table:
    """Networks that were trained once, all for the same number of epochs.

    Attributes:
        ids: their names, shape (n,).
        configs: settings by full key, the varying ones alone count.
        curves: the objective after each epoch, shape (n, epochs).
        metric: its name; `minimized` says which way is better.
    """

    ids: tuple[int, ...]
    configs: tuple[Mapping[str, Any], ...]
    curves: NDArray[np.float64]
    metric: str
    minimized: bool = True

    @property
    def epochs(self) -> int:
        return int(self.curves.shape[1])

    @cached_property
    def losses(self) -> NDArray[np.float64]:
        """The curves with their sign changed, if necessary, so that lower is better."""
        return self.curves if self.minimized else -self.curves

    @cached_property
    def final(self) -> NDArray[np.float64]:
        """The best loss of each network, shape (n,)."""
        return self.losses.min(axis=1)

    @cached_property
    def varying(self) -> dict[str, list[Any]]:
        """The values of each setting that has more than one."""
        keys = dict.fromkeys(key for config in self.configs for key in config)
        seen = {
            key: [config[key] for config in self.configs if key in config] for key in sorted(keys)
        }
        return {key: values for key, values in seen.items() if len({*map(repr, values)}) > 1}

    def part(self, chosen: Sequence[bool]) -> "Table":
        """The table restricted to those networks."""
        at = [i for i, one in enumerate(chosen) if one]
        ids, configs = tuple(self.ids[i] for i in at), tuple(self.configs[i] for i in at)
        return Table(ids, configs, self.curves[at], self.metric, self.minimized)

    def space(self) -> dict[str, Any]:
        """A search space that holds every network, as YAML would write it."""
        parameters = {key: _parameter(values) for key, values in self.varying.items()}
        return {"parameters": parameters, "fixed": {"train.epochs": self.epochs}}

    def nearest(self, drawn: Mapping[str, Any], used: set[int]) -> int:
        """The unused network nearest to a draw; of equals the first.

        The distance adds 1 for each name that differs, and for numbers their difference as a share
        of the range; settings that a network has not add nothing.
        """
        free = np.array([i for i in range(len(self.ids)) if i not in used])
        apart = np.zeros(len(free))
        for key, column in self._columns.items():
            if key in drawn:
                apart += column.apart(drawn[key])[free]
        return int(free[apart.argmin()])

    @cached_property
    def _columns(self) -> dict[str, "_Column"]:
        return {
            key: _Column(values, [config.get(key, ABSENT) for config in self.configs])
            for key, values in self.varying.items()
        }


class _Column:
    """One setting of all networks: how far each is from a drawn value.

    Args:
        seen: the values that occur.
        of_each: the value of each network, or ABSENT.
    """

    def __init__(self, seen: Sequence[Any], of_each: Sequence[Any]) -> None:
        self._numbers, self._values = all(map(_is_number, seen)), of_each
        self._there = np.array([value is not ABSENT for value in of_each])
        if self._numbers:
            self._log = _spans_decades(seen)
            low, high = self._scaled(min(seen)), self._scaled(max(seen))
            self._range = high - low
            rest = [low if value is ABSENT else self._scaled(value) for value in of_each]
            self._at = np.array(rest)

    def apart(self, drawn: Any) -> NDArray[np.float64]:
        """Distances, shape (n,); 0 for a network that has not this setting."""
        if self._numbers and _is_number(drawn):
            return np.abs(self._at - self._scaled(drawn)) / self._range * self._there
        return np.array([value != drawn for value in self._values]) * self._there * 1.0

    def _scaled(self, value: float) -> float:
        return math.log(value) if self._log else float(value)


def read_table(path: Path) -> Table:
    """The curves of a JSONL file (`id`, `config`, `epochs`), or of a study's folder.

    Raises:
        SystemExit: it holds no two complete curves.
    """
    table = _of_study(StudyPaths(path)) if path.is_dir() else _of_lines(path)
    if len(table.ids) < 2:
        raise SystemExit(f"{path}: holds {len(table.ids)} complete curves; a replay needs more")
    return table


def _of_lines(path: Path) -> Table:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
    metric = "val/dice_loss"
    curves = [[epoch[metric] for epoch in row["epochs"]] for row in rows]
    return _equally_long([row["id"] for row in rows], [r["config"] for r in rows], curves, metric)


def _of_study(paths: StudyPaths) -> Table:
    study = strict_yaml.load_yaml(
        paths.study_yaml.read_text("utf-8"), source=str(paths.study_yaml)
    ).value
    objective = study["objective"]
    ids, configs, curves = [], [], []
    for record in read_records(paths):
        curve = [line[objective["metric"]] for line in read_epochs(paths.trial(record.number))]
        if record.state == "complete" and curve and record.imported is None:
            ids.append(record.number)
            configs.append({key: _decoded(value) for key, value in record.params.items()})
            curves.append(curve)
    minimized = objective["direction"] == "minimize"
    return _equally_long(ids, configs, curves, objective["metric"], minimized=minimized)


def _equally_long(
    ids: Sequence[int],
    configs: Sequence[Mapping[str, Any]],
    curves: Sequence[Sequence[float]],
    metric: str,
    *,
    minimized: bool = True,
) -> Table:
    """The curves of the most common length."""
    lengths = Counter(map(len, curves))
    length = lengths.most_common(1)[0][0] if lengths else 0
    at = [i for i, curve in enumerate(curves) if len(curve) == length]
    kept = np.array([curves[i] for i in at], dtype=np.float64).reshape(len(at), length)
    return Table(tuple(ids[i] for i in at), tuple(configs[i] for i in at), kept, metric, minimized)


def _decoded(value: Any) -> Any:
    """A list among choices is recorded as its JSON text."""
    return json.loads(value) if isinstance(value, str) and value.startswith("[") else value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _parameter(values: Sequence[Any]) -> dict[str, Any]:
    distinct = sorted({repr(value): value for value in values}.items())
    numbers = all(map(_is_number, values))
    if not numbers or (len(distinct) <= FEW and all(isinstance(v, int) for v in values)):
        return {"choices": [value for _, value in distinct]}
    return {"low": min(values), "high": max(values), "log": _spans_decades(values)}


def _spans_decades(values: Sequence[Any]) -> bool:
    return min(values) > 0 and max(values) / min(values) > DECADE
