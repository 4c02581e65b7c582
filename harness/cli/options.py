"""Options that commands share, each declared once with its panel of `--help` and its default."""

from pathlib import Path
from typing import Annotated, Any

import typer

from harness.cli.completion import complete_space, complete_study
from harness.config.data import StudyDataConfig
from harness.config.objective import ObjectiveConfig
from harness.config.study import PrunerConfig, SamplerConfig, StudyConfig
from harness.core.settings import literal_values
from harness.search.definition.options import DEFAULT_TRIALS

SPACE, SEARCH, COMPUTE, STORAGE = "Space", "Search", "Compute", "Storage"  # panels of --help

# Typer shows `<str>` or `<list[str]>` for an option, which says nothing about its values: nearly
# every option here has a metavar. Defaults are read from the configuration models, their only home.


def option(
    help_text: str,
    *names: str,
    panel: str,
    default: str | None = None,
    example: str | None = None,
    **more: Any,
) -> Any:
    """Declare an option with the default in its help text.

    Most parameters are None in the signature, which means the recorded value, else the default of
    a new study. Typer would not print these, and a text given as `show_default` only in brackets.

    Args:
        names: `--name` where the parameter is called otherwise.
        default: printed after the text; None for a required option.
        example: printed last, so that no full stop is copied with it.
        more: further arguments of `typer.Option`, such as `min`.
    """
    text = help_text + ("" if default is None else f" Default: {default}.")
    text += "" if example is None else f" Example: {example}"
    return typer.Option(*names, help=text, rich_help_panel=panel, show_default=False, **more)


def _default(model: type[Any], name: str) -> str:
    return str(model.model_fields[name].default)


def _choices(model: type[Any]) -> str:
    return ", ".join(literal_values(model, "name"))


SpaceOption = Annotated[
    str | None,
    option(
        "Space file, YAML or CSV: a path, or a name in search_spaces/.",
        example="--space encoders.yaml",
        panel=SPACE,
        default="space.yaml of the study",
        metavar="FILE",
        autocompletion=complete_space,
    ),
]
SetOption = Annotated[
    list[str] | None,
    option(
        "Fix a setting in every trial; may be repeated. KEY=from:STUDY takes the value of "
        "that study's best trial.",
        "--set",
        example="--set train.epochs=10",
        panel=SPACE,
        default="the fixed values of the space",
        metavar="KEY=VALUE",
    ),
]
LabelOption = Annotated[
    list[str] | None,
    option(
        "Store this column of a CSV space as a tag of the trials; may be repeated.",
        example="--label author",
        panel=SPACE,
        default="no column",
        metavar="COLUMN",
    ),
]
IgnoreOption = Annotated[
    list[str] | None,
    option(
        "Leave out this column of a CSV space; may be repeated.",
        example="--ignore notes",
        panel=SPACE,
        default="no column",
        metavar="COLUMN",
    ),
]
StudyOption = Annotated[
    str,
    option(
        "Name of the study.",
        example="--study encoders",
        panel=SEARCH,
        metavar="NAME",
        autocompletion=complete_study,
    ),
]
NewStudyOption = Annotated[
    str | None,
    option(
        "Name of the study.",
        example="--study encoders",
        panel=SEARCH,
        default="the name of the space file",
        metavar="NAME",
        autocompletion=complete_study,
    ),
]
QuestionOption = Annotated[
    str | None,
    option(
        "What the study is to find out, for report and MLflow.",
        example='--question "Does depth 5 beat depth 3?"',
        panel=SEARCH,
        default="the first comment line of the space file",
        metavar="TEXT",
    ),
]
TrialsOption = Annotated[
    int | None,
    option(
        "Total number of finished trials, including those of earlier runs.",
        example="--trials 40",
        panel=SEARCH,
        default=f"the number of rows of a CSV space, otherwise {DEFAULT_TRIALS}",
        metavar="N",
        min=1,
    ),
]
DataOption = Annotated[
    str | None,
    option(
        "Folder with images/ and masks/, or name of a data set (kvasir-seg, synthetic).",
        example="--data data/polyps",
        panel=SEARCH,
        default=_default(StudyDataConfig, "root"),
        metavar="DATA",
    ),
]
FromOption = Annotated[
    list[str] | None,
    option(
        "Import the finished trials of this earlier study where they fit; may be repeated.",
        "--from",
        example="--from baseline",
        panel=SEARCH,
        default="no study",
        metavar="STUDY",
        autocompletion=complete_study,
    ),
]
PriorOption = Annotated[
    list[str] | None,
    option(
        "Search near the good configurations of this study, on any data; may be repeated.",
        example="--prior polyps",
        panel=SEARCH,
        default="no study",
        metavar="STUDY",
        autocompletion=complete_study,
    ),
]
SamplerOption = Annotated[
    str | None,
    option(
        f"Method that chooses configurations: {_choices(SamplerConfig)}.",
        example="--sampler gp",
        panel=SEARCH,
        default=_default(SamplerConfig, "name"),
        metavar="NAME",
    ),
]
PrunerOption = Annotated[
    str | None,
    option(
        f"Method that stops poor trials early: {_choices(PrunerConfig)}.",
        example="--pruner none",
        panel=SEARCH,
        default=_default(PrunerConfig, "name"),
        metavar="NAME",
    ),
]
SeedOption = Annotated[
    int | None,
    option(
        "Seed of the study; the seeds of its trials follow from it.",
        example="--seed 1",
        panel=SEARCH,
        default=_default(StudyConfig, "seed"),
        metavar="N",
        min=0,
    ),
]
ObjectiveOption = Annotated[
    str | None,
    option(
        "Metric to optimise.",
        example="--objective val/miou",
        panel=SEARCH,
        default=_default(ObjectiveConfig, "metric"),
        metavar="METRIC",
    ),
]
SkipBadOption = Annotated[
    bool,
    option(
        "Leave out pairs that cannot be used.",
        "--skip-bad",
        panel=SEARCH,
        default="such a pair is an error",
    ),
]
PartsOption = Annotated[
    Path | None,
    option(
        "Python file that registers user-defined networks, losses or metrics.",
        example="--parts parts.py",
        panel=SEARCH,
        default="the recorded file, otherwise no file",
        metavar="FILE",
    ),
]
DeviceOption = Annotated[
    str,
    option(
        "Device of a single worker: auto, cpu, cuda, cuda:1 or mps.",
        example="--device cuda:1",
        panel=COMPUTE,
        default="auto, the best device available",
        metavar="NAME",
    ),
]
DeployedTrialOption = Annotated[
    int | None,
    option(
        "Number of a trial of the search.",
        example="--trial 7",
        panel=SEARCH,
        default="the confirmed choice, otherwise the leading trial",
        metavar="N",
        min=0,
    ),
]
TtaOption = Annotated[
    bool,
    option(
        "Average the probabilities over four flips of each image.",
        "--tta",
        panel=SEARCH,
        default="each image once",
    ),
]
StorageOption = Annotated[
    str | None,
    option(
        "Database of Optuna's index.",
        example="--storage postgresql+psycopg://me@host/optuna",
        panel=STORAGE,
        default="optuna.db in the workspace",
        metavar="URL",
    ),
]
TrackingUriOption = Annotated[
    str | None,
    option(
        "MLflow server or database.",
        example="--tracking-uri http://host:5000",
        panel=STORAGE,
        default="MLFLOW_TRACKING_URI, otherwise mlflow.db in the workspace",
        metavar="URI",
    ),
]
ExperimentOption = Annotated[
    str | None,
    option(
        "Name of the study's experiment in MLflow.",
        example="--experiment /Users/me/encoders",
        panel=STORAGE,
        default="the name of the study",
        metavar="NAME",
    ),
]
WorkspaceOption = Annotated[
    Path,
    option(
        "Folder of studies, data and databases.",
        example="--workspace ~/polyps",
        panel=STORAGE,
        default="the current folder",
        metavar="FOLDER",
    ),
]
