"""From the sums of `scores.csv` to one value per image."""

import numpy as np
import pandas as pd

from harness.errors import UserError, nearest
from harness.paths import TrialPaths
from harness.training.metrics import ImageScores, read_scores
from harness.training.metrics import per_image as per_entry

OWN_METRICS = ("dice", "iou")


def per_image(scores: ImageScores, metric: str) -> "pd.Series[float]":
    """The value of each image that counts: the mean over the classes that its truth has.

    In two-class tasks the mean of these values is the reported metric. With several classes it
    weighs images alike, where the reported metric weighs classes alike; the two differ where
    images have different classes.

    Args:
        scores: as `read_scores` gives them.
        metric: dice_loss, dice, iou, precision, recall, accuracy, or a metric of the study's own;
            with or without `val/` or `best/` before it.

    Returns:
        Indexed by `image`, in order of row; images with nothing to find are left out.

    Raises:
        UserError: a metric that has no value for a single image.
    """
    name = metric.removeprefix("val/").removeprefix("best/")
    columns = {**per_entry(scores), **scores.others}
    if name not in columns:
        raise UserError(
            f"{metric}: has no value for a single image, so images cannot be compared by it"
            + nearest(name, columns)
        )
    frame = pd.DataFrame({"row": scores.row, "image": scores.image, "value": columns[name]})
    frame = frame[np.isfinite(frame["value"].to_numpy())]
    means = frame.groupby(["row", "image"], sort=True)["value"].mean().reset_index("row", drop=True)
    return pd.Series(means, dtype=np.float64, name=name)


def own_sizes(trial: TrialPaths) -> dict[str, float]:
    """Mean Dice and IoU over images at their own sizes, at p >= 0.5; {} before they are there."""
    if not trial.own_sizes_csv.exists():
        return {}
    scores = read_scores(trial.own_sizes_csv)
    return {metric: float(np.mean(per_image(scores, metric).to_numpy())) for metric in OWN_METRICS}
