"""Catalogue of metrics and costs of a trial, without torch.

Objectives, columns of tables, axes of figures and reserved names are derived from these entries;
`training` computes them, and tests assert that it computes exactly these. A metric that a user
registers becomes a `MetricEntry` too (`config.components`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from harness.config.catalogue import MetricEntry
from harness.core.text import format_duration


@dataclass(frozen=True, kw_only=True)
class CostEntry:
    """Cost of a trial, recorded under `cost/<name>`; lower is cheaper.

    Attributes:
        heading, hint: heading and tooltip of its column on the leaderboard.
        axis_title, unit: title and unit of its axis in figures.
        format: converts a value to the text of a cell.
    """

    name: str
    heading: str
    hint: str
    axis_title: str
    unit: str
    format: Callable[[float], str]

    @property
    def key(self) -> str:
        """Key in a record and in MLflow."""
        return f"cost/{self.name}"


# dice_loss is computed for each image from probabilities and averaged. The training loss of the
# same name depends on the batch (segmentation-models-pytorch#712), so it cannot rank trials.
_METRICS = (
    MetricEntry(name="dice_loss", direction="minimize"),
    MetricEntry(name="dice", title="Dice", is_primary=True, leaderboard_position=0),
    MetricEntry(name="iou", title="IoU", is_primary=True, leaderboard_position=1),
    MetricEntry(name="precision", title="Precision", leaderboard_position=3),
    MetricEntry(name="recall", title="Recall", leaderboard_position=4),
    MetricEntry(name="accuracy", title="Accuracy"),
    MetricEntry(name="dice_micro"),
    MetricEntry(name="iou_micro"),
    MetricEntry(
        name="miou",
        title="mIoU",
        tasks=("multiclass",),
        leaderboard_position=2,
        remedy="use val/iou_micro",
    ),
    MetricEntry(name="precision_micro", is_objective=False),
    MetricEntry(name="recall_micro", is_objective=False),
    MetricEntry(name="accuracy_micro", is_objective=False),
    MetricEntry(
        name="false_alarm_share", title="False alarms", direction="minimize", is_objective=False
    ),
)
_COSTS = (
    CostEntry(
        name="parameters",
        heading="parameters",
        hint="number of weights of the network",
        axis_title="parameters",
        unit="weights",
        format=lambda value: f"{value / 1e6:.2f} M",
    ),
    CostEntry(
        name="gflops",
        heading="GFLOP",
        hint="work of one forward pass of one image",
        axis_title="work per image",
        unit="GFLOP",
        format=lambda value: f"{value:.3g}",
    ),
    CostEntry(
        name="seconds",
        heading="time",
        hint="training and validation of the whole trial",
        axis_title="training time",
        unit="s",
        format=format_duration,
    ),
    CostEntry(
        name="peak_mb",
        heading="memory",
        hint="peak memory in MB",
        axis_title="peak memory",
        unit="MB",
        format=lambda value: f"{value:,.0f} MB",
    ),
    CostEntry(
        name="ms_per_image",
        heading="ms / image",
        hint="median time of a forward pass of one image",
        axis_title="time per image",
        unit="ms",
        format=lambda value: f"{value:.3g}",
    ),
    CostEntry(
        name="energy_wh",
        heading="energy",
        hint="energy of the GPU during the training, in Wh",
        axis_title="energy",
        unit="Wh",
        format=lambda value: f"{value:,.0f} Wh" if value >= 100 else f"{value:.3g} Wh",
    ),
)
# The order is that of error texts, of columns and of figures.
BUILTIN_METRICS: Final[Mapping[str, MetricEntry]] = {entry.name: entry for entry in _METRICS}
COSTS: Final[Mapping[str, CostEntry]] = {entry.key: entry for entry in _COSTS}
PRIMARY_METRICS: Final = tuple(entry.name for entry in _METRICS if entry.is_primary)
LEADERBOARD_METRICS: Final = tuple(
    name
    for _, name in sorted(
        (entry.leaderboard_position, entry.name)
        for entry in _METRICS
        if entry.leaderboard_position is not None
    )
)
