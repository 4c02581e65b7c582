"""Cells with small learning curves for the tables of trials, all on the same scale."""

from collections.abc import Sequence

import numpy as np

from harness.core.records import TrialRecord
from harness.core.text import count
from harness.report.tables.sheet_cells import UNRECORDED_CELL, SheetCell
from harness.report.tables.study_tables import StudyTables

WIDTH, HEIGHT = 100, 24  # of the drawing in the template
_MAX_POINTS = 50  # of a curve; a hundred rows must stay small


def learning_curve_cells(
    tables: StudyTables, records: Sequence[TrialRecord]
) -> dict[int, SheetCell]:
    """Cell with the objective by epoch of each trial, by number."""
    metric = tables.config.objective.metric
    numbers = {record.number for record in records}
    if metric not in tables.epochs.columns:
        return dict.fromkeys(numbers, UNRECORDED_CELL)
    logged = tables.epochs[tables.epochs["number"].isin(numbers)]
    logged = logged[np.isfinite(logged[metric].astype("float64"))]
    curves = {
        int(str(number)): (group["epoch"].to_numpy(), group[metric].to_numpy(np.float64))
        for number, group in logged.groupby("number")
    }
    if not curves:
        return dict.fromkeys(numbers, UNRECORDED_CELL)
    longest = max(int(epochs.max()) for epochs, _ in curves.values())
    # A common scale, so that curves of rows can be compared. A diverged trial must not flatten all
    # others: values beyond the 95 % quantile are cut.
    values = np.concatenate([curve for _, curve in curves.values()])
    minimized = tables.minimized
    low, high = np.quantile(values, (0.0, 0.95) if minimized else (0.05, 1.0))
    cells = {}
    for number in numbers:
        if number not in curves:
            cells[number] = UNRECORDED_CELL
            continue
        epochs, curve = curves[number]
        steps = np.unique(np.linspace(0, len(curve) - 1, _MAX_POINTS).round().astype(int))
        xs = 1 + (WIDTH - 2) * (epochs[steps] - 1) / max(longest - 1, 1)
        heights = np.clip((curve[steps] - low) / max(high - low, 1e-12), 0, 1)
        ys = HEIGHT - 2 - (HEIGHT - 4) * heights
        points = [f"{x:.1f},{y:.1f}" for x, y in zip(xs, ys, strict=True)]
        # A single epoch is a short line: a polyline of one point draws nothing.
        points += [f"{xs[0] + 2:.1f},{ys[0]:.1f}"] if len(points) == 1 else []
        text = f"{metric} from {curve[0]:.4f} to {curve[-1]:.4f} in {count(len(curve), 'epoch')}"
        cells[number] = SheetCell(text, repr(float(curve[-1])), "", " ".join(points))
    return cells
