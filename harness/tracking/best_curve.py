"""Best value so far as a curve over the trials, in the MLflow run of a study."""

from collections.abc import Collection, Sequence

import mlflow
from mlflow.entities import Metric

from harness.config.objective import ObjectiveConfig
from harness.core.errors import ConfigError
from harness.core.paths import StudyPaths
from harness.core.records import TrialRecord, read_records
from harness.tracking.entities import MAX_METRICS_PER_CALL
from harness.tracking.fields import BestSoFar, best_so_far, to_milliseconds
from harness.tracking.lookup import ExperimentRuns


class BestCurve:
    """Logs the best value so far with the number of a complete trial as step, each step once.

    Args:
        client: MLflow client of the store.
        runs: runs of the study's experiment.
        run_id: the study's own run.
        paths: folder of the study.
        objective: objective of the study; `val/dice_loss` becomes `best/dice_loss`.
    """

    def __init__(
        self,
        client: mlflow.MlflowClient,
        runs: ExperimentRuns,
        run_id: str,
        paths: StudyPaths,
        objective: ObjectiveConfig,
    ) -> None:
        self._client, self._runs, self._run_id = client, runs, run_id
        self._paths, self._objective = paths, objective
        self._key = objective.metric.replace("val/", "best/")
        self._last: BestSoFar | None = None

    def add(self, record: TrialRecord) -> None:
        """Log the point of a trial that has just ended, after those of all earlier trials."""
        if self._last is None:
            self.complete()
        else:
            self._log(list(best_so_far([record], self._objective, self._last)))

    def complete(self) -> None:
        """Log the points of all complete trials that the run does not have."""
        try:
            points = list(best_so_far(read_records(self._paths), self._objective))
        except ConfigError:
            return  # a damaged record (reported elsewhere) would change the curve
        self._log(points, self._runs.steps(self._run_id, self._key))

    def _log(self, points: Sequence[BestSoFar], existing: Collection[int] = ()) -> None:
        # Before the call, which may fail: the next point must count these.
        self._last = points[-1] if points else self._last
        metrics = [
            Metric(self._key, point.value, to_milliseconds(point.ended_at) or 0, point.number)
            for point in points
            if point.number not in existing
        ]
        log_in_batches(self._client, self._run_id, metrics)


def log_in_batches(client: mlflow.MlflowClient, run_id: str, metrics: Sequence[Metric]) -> None:
    """Log any number of metrics, in calls that MLflow accepts."""
    for start in range(0, len(metrics), MAX_METRICS_PER_CALL):
        client.log_batch(run_id, metrics=metrics[start : start + MAX_METRICS_PER_CALL])
