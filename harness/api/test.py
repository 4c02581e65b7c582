"""Testing a study: what `Study.test` does."""

from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict, Unpack

from harness.config.progress import LineProgress, ProgressReporter
from harness.core.paths import StudyPaths, Workspace
from harness.evaluation.held_out.ledger import HeldOutTest
from harness.search.definition.options import RunOptions


class HeldOutTestOptions(TypedDict, total=False):
    """What `Study.test` may be asked.

    Attributes:
        trial: number of a trial of the search; None: the confirmed choice.
        ensemble: average the probabilities of all confirmed seeds of the choice.
        tta: average the probabilities over four flips of each image.
        on: folders of further data sets by name; with any, the test images stay closed.
        device: auto, cpu, cuda, cuda:1 or mps.
        progress: who is told what happens; None: lines on standard error.
    """

    trial: int | None
    ensemble: bool
    tta: bool
    on: Mapping[str, str | Path]
    device: str
    progress: ProgressReporter | None


def run_held_out_test(
    paths: StudyPaths, workspace: Workspace, **options: Unpack[HeldOutTestOptions]
) -> list[HeldOutTest]:
    """Open the sealed images, enter that in the ledger, and put the numbers into MLflow.

    Raises:
        UserError: something must be changed first; nothing was opened.
        HarnessError: a look failed on the way; it is in the ledger.
    """
    from harness.evaluation.held_out.mlflow_metrics import mirror_held_out_tests  # noqa: PLC0415
    from harness.evaluation.held_out.run import HeldOutRequest, run_test  # noqa: PLC0415  # brings mlflow

    progress = options.get("progress") or LineProgress()
    request = HeldOutRequest(
        trial=options.get("trial"),
        ensemble=options.get("ensemble", False),
        tta=options.get("tta", False),
        on={name: str(folder) for name, folder in options.get("on", {}).items()},
    )
    run_options = RunOptions.from_arguments(
        {"study": paths.name, "workspace": workspace.root, "device": options.get("device")}
    )
    looks = run_test(run_options, request, progress)
    mirror_held_out_tests(workspace, paths, progress)
    return looks
