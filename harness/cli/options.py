"""Options that several commands have."""

from typing import Annotated

import typer

ObjectiveOption = Annotated[
    str | None,
    typer.Option(help="Metric that the study optimises, e.g. val/miou; else val/dice_loss."),
]
StorageOption = Annotated[
    str | None,
    typer.Option(help="Database of the index, e.g. postgresql+psycopg://me@host/optuna."),
]
TrackingUriOption = Annotated[
    str | None,
    typer.Option(help="MLflow server or database; else MLFLOW_TRACKING_URI, else mlflow.db."),
]
ExperimentOption = Annotated[
    str | None,
    typer.Option(help="Name of the study's experiment in MLflow, e.g. /Users/me/encoders."),
]
