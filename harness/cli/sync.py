"""Command `harness sync`: send a study to MLflow."""

import sys
from pathlib import Path

from harness import api
from harness.cli.options import ExperimentOption, StudyOption, TrackingUriOption, WorkspaceOption
from harness.core.text import count


def sync(
    study: StudyOption,
    tracking_uri: TrackingUriOption = None,
    experiment: ExperimentOption = None,
    workspace: WorkspaceOption = Path(),
) -> None:
    """Send to MLflow what it lacks of a study's folder; nothing is sent twice.

    Example: harness sync --study encoders
    """
    opened = api.open_study(study, workspace=workspace)
    n_trials = opened.sync(tracking_uri=tracking_uri, experiment=experiment)
    sys.stdout.write(f"MLflow now holds all of the folder of {study}: {count(n_trials, 'trial')}\n")
