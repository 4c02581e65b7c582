"""Compare two ways to spend a third of a budget: on more configurations, or on more seeds.

Example: python analysis/seeds_or_configurations.py --study encoders

The study has N configurations, all of them confirmed on at least three seeds, so each has at least
four values. Two searches of N trainings are drawn from these again and again: one trains N
configurations once; the other trains two thirds of N once, and the best of them on further seeds,
two each. The quality of a choice is the mean of those values of its configuration that did not
choose it.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.random import Generator

from harness.core.errors import UserError
from harness.core.paths import Workspace
from harness.evaluation.confirm.load_confirmation import load_confirmation

MORE_SEEDS = 2  # of each configuration that is trained again
MIN_VALUES = MORE_SEEDS + 2  # the last one judges the choice
N_DRAWS = 4000


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--study", required=True, help="name of the study")
    parser.add_argument("--workspace", type=Path, default=Path(), help="folder with studies/")
    options = parser.parse_args(words)
    try:
        values, minimized = confirmed_values(options.workspace, options.study)
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    print(sentence(values, minimized=minimized))
    return 0


def confirmed_values(workspace: Path, study: str) -> tuple[list[list[float]], bool]:
    """Values of each configuration, that of the search first, and if lower ones are better.

    Raises:
        UserError: unknown study, or fewer than six configurations with enough values.
    """
    paths = Workspace.at(workspace).study(study)
    confirmation = load_confirmation(paths)
    rows = [] if confirmation is None else confirmation.rows
    values = [
        [row.searched, *row.values]
        for row in rows
        if row.searched is not None and len(row.values) >= MIN_VALUES - 1
    ]
    if confirmation is None or len(values) < 6:
        raise UserError(
            f"{study}: needs six confirmed configurations with {MIN_VALUES - 1} seeds each, has "
            f"{len(values)}; harness confirm --study {study} --top 12 --seeds {MIN_VALUES - 1}"
        )
    return values, rows[0].minimized


def sentence(values: Sequence[Sequence[float]], *, minimized: bool = True) -> str:
    """State both qualities and the difference, with an interval over the configurations."""
    sign = 1.0 if minimized else -1.0
    table = np.array([row[:MIN_VALUES] for row in values]) * sign
    rng = np.random.default_rng(0)
    many, few = (sign * compare(table, rng).mean(axis=1)).tolist()
    # Bootstrap over configurations: another search would have drawn others.
    differences = []
    for _ in range(200):
        sample = table[rng.integers(0, len(table), len(table))]
        first, second = compare(sample, rng, n_draws=200).mean(axis=1)
        differences.append(sign * (second - first))
    low, high = np.quantile(differences, [0.025, 0.975])
    n, n_again = len(table), len(table) // 3 // MORE_SEEDS
    return (
        f"{n} configurations once: {many:.4f}; {n - n // 3} once and {n_again} of them on "
        f"{MORE_SEEDS} more seeds: {few:.4f}; difference {few - many:+.4f} "
        f"({low:+.4f} to {high:+.4f})"
    )


def compare(
    table: np.ndarray, rng: Generator, n_draws: int = N_DRAWS
) -> "np.ndarray[tuple[int, int], np.dtype[np.float64]]":
    """Quality of the choices of both searches, (2, draws); lower is better.

    Args:
        table: (configurations, values); each row holds exchangeable values of one configuration.
    """
    n = len(table)
    n_again = n // 3 // MORE_SEEDS
    qualities = np.empty((2, n_draws))
    for draw in range(n_draws):
        shuffled = rng.permuted(table, axis=1)[rng.permutation(n)]
        once = int(np.argmin(shuffled[:, 0]))
        qualities[0, draw] = shuffled[once, 1:].mean()
        best = np.argsort(shuffled[: n - n // 3, 0])[:n_again]
        means = shuffled[best, : 1 + MORE_SEEDS].mean(axis=1)
        again = int(best[np.argmin(means)])
        qualities[1, draw] = shuffled[again, 1 + MORE_SEEDS :].mean()
    return qualities


if __name__ == "__main__":
    raise SystemExit(main())
