"""Testing a study: what `Study.test` does."""

from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict, Unpack

from harness.evaluation.sealed_ledger import Look
from harness.paths import StudyPaths, Workspace
from harness.search.progress import LineProgress, Progress


class LookOptions(TypedDict, total=False):
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
    progress: Progress | None


def test_sealed(
    paths: StudyPaths, workspace: Workspace, **options: Unpack[LookOptions]
) -> list[Look]:
    """Open the sealed images, enter that in the ledger, and put the numbers into MLflow.

    Raises:
        UserError: something must be changed first; nothing was opened.
        HarnessError: a look failed on the way; it is in the ledger.
    """
    from harness.evaluation.sealed import Request, take_looks  # noqa: PLC0415  # brings mlflow
    from harness.evaluation.sealed_mirror import mirror_looks  # noqa: PLC0415

    progress = options.get("progress") or LineProgress()
    request = Request(
        trial=options.get("trial"),
        ensemble=options.get("ensemble", False),
        tta=options.get("tta", False),
        on={name: str(folder) for name, folder in options.get("on", {}).items()},
        device=options.get("device", "auto"),
    )
    looks = take_looks(workspace, paths, request, progress)
    mirror_looks(workspace, paths, progress)
    return looks
