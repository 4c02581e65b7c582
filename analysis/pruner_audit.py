"""Audit the pruner: the trials that it stopped, their epoch, and their distance from the best.

Example: python analysis/pruner_audit.py --study encoders --control encoders-unpruned

The control is a study of the same space without pruning (`--pruner none`): it shows how many of its
best tenth were worse than the median at the epoch at which this study pruned.
"""

import statistics

import plotly.graph_objects as go

from harness.core.errors import ConfigError
from harness.core.paths import Workspace
from harness.core.text import count
from harness.report.analysis.noise import estimate_pooled_noise
from harness.report.analysis.search_caveats import PruningGap, best_by_epoch, find_pruning_gaps
from harness.report.figures.scripts import AnalysisResult, run_analysis
from harness.report.figures.style import BLUE, ORANGE, ObjectiveLabel, empty_figure
from harness.report.tables.study_tables import StudyTables, load_study_tables, ranked_records


def main(words: list[str] | None = None) -> int:
    control = {"default": None, "help": "a study of the same space without pruning"}
    return run_analysis("pruner_audit", __doc__, audit, words, control=control)


def audit(tables: StudyTables, control: str | None) -> AnalysisResult:
    found = find_pruning_gaps(tables)
    if not found:
        return AnalysisResult(
            [f"No trial of {tables.paths.name} was pruned against complete ones."], None
        )
    epoch = round(statistics.median(cut.epoch for cut in found))
    gap = statistics.median(cut.gap for cut in found)
    metric = tables.config.objective.metric
    lines = [
        f"{tables.config.pruner.name} cut {count(len(found), 'trial')}, half of them by epoch "
        f"{epoch}, in the median {gap:.4f} of {metric} behind the best complete trial at the same "
        f"epoch; {sum(cut.gap <= 0 for cut in found)} were ahead of it.",
        _of_noise(tables, found),
    ]
    if control is not None:
        root = Workspace(tables.paths.root.parent.parent)
        lines.append(_of_control(load_study_tables(root.study(control)), tables, epoch))
    lines += [
        f"trial {cut.number}: cut after epoch {cut.epoch} at {cut.value:.4f}, {cut.gap:.4f} "
        f"behind; better than {cut.share_beaten:.0%} of the complete trials at that epoch"
        for cut in sorted(found, key=lambda cut: cut.gap)[:10]
    ]
    return AnalysisResult(lines, draw(found, ObjectiveLabel.from_config(tables.config)))


def _of_noise(tables: StudyTables, found: list[PruningGap]) -> str:
    noise = estimate_pooled_noise(tables.records, ranked_records(tables))
    if noise is None:
        return "The noise is unknown, as no configuration has two complete trials."
    within = sum(cut.gap < noise.smallest_lead for cut in found)
    return (
        f"{within} of {len(found)} cuts ({within / len(found):.0%}) were nearer to the best than "
        f"{noise.smallest_lead:.4f}, by which two trials of one configuration differ in 5 of 100."
    )


def _of_control(control: StudyTables, tables: StudyTables, epoch: int) -> str:
    if control.config.objective.metric != tables.config.objective.metric:
        raise ConfigError(
            f"--control {control.paths.name}: its objective is {control.config.objective.metric}, "
            f"not {tables.config.objective.metric}; choose a study with the same objective"
        )
    ranked = ranked_records(control)
    reached = best_by_epoch(control, epoch)
    some = [record.number for record in ranked if record.number in reached]
    if len(some) < 10:
        return f"Control {control.paths.name}: {len(some)} complete trials; 10 are needed."
    median = statistics.median(reached[number] for number in some)
    top = some[: max(len(some) // 10, 1)]
    sign = 1 if tables.minimized else -1
    below = sum(sign * (reached[number] - median) > 0 for number in top)
    return (
        f"Control {control.paths.name}: of the best tenth of {len(some)} trials that ran to the "
        f"end, {below} of {len(top)} were worse than the median at epoch {epoch}."
    )


def draw(found: list[PruningGap], objective: ObjectiveLabel) -> go.Figure:
    behind = f"behind the best complete trial<br>at that epoch, in {objective.metric}"
    figure = empty_figure("epoch after which the trial was cut", behind)
    figure.add_scatter(
        x=[cut.epoch for cut in found],
        y=[cut.gap for cut in found],
        mode="markers",
        marker={"size": 9, "color": [ORANGE if cut.gap <= 0 else BLUE for cut in found]},
        hovertext=[f"trial {c.number}<br>{c.value:.5f}, {c.gap:.5f} behind" for c in found],
        hoverinfo="text",
        showlegend=False,
    )
    figure.update_xaxes(tickformat="d")
    return figure


if __name__ == "__main__":
    raise SystemExit(main())
