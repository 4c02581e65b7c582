"""Looks in MLflow: their numbers on the study's own run, the look's number as step."""

from collections.abc import Iterator

from harness.errors import HarnessError
from harness.evaluation.sealed_ledger import OWN, Ledger, Look, Result, read_ledger
from harness.paths import StudyPaths, Workspace
from harness.search.earlier import read_config
from harness.search.mirrored import Number, milliseconds
from harness.search.progress import Progress
from harness.search.tracker import find_tracker


def mirror_looks(workspace: Workspace, paths: StudyPaths, progress: Progress) -> None:
    """Copy the numbers of all looks, and the ledger, where the study is in MLflow at all.

    A failure is told, and nothing else: the ledger has everything.
    """
    from harness.search.tracking import log_numbers  # noqa: PLC0415  # brings mlflow

    try:
        config = read_config(paths)
        tracker = find_tracker(workspace, paths, str(config.id))
        if tracker.database is None or tracker.database.exists():
            log_numbers(tracker, paths, config, list(numbers_of(read_ledger(paths))))
    except HarnessError as error:
        progress.stage(f"the test is not in MLflow: {error}")


def numbers_of(ledger: Ledger) -> Iterator[Number]:
    """The numbers over all images, with the ends of their intervals, and Dice and IoU by class."""
    for look in ledger.looks:
        for result in look.results:
            if result.stratum or result.value is None or (result.of and not _of_class(result)):
                continue
            key = _key(look, result)
            found = {key: result.value, f"{key}_low": result.low, f"{key}_high": result.high}
            for name, value in found.items():
                if value is not None:
                    yield Number(name, value, milliseconds(look.opened.at) or 0, look.number)


def _of_class(result: Result) -> bool:
    return result.metric in ("dice", "iou") and result.meaning == "image"


def _key(look: Look, result: Result) -> str:
    """`test/dice`, `test/dice_pixels_chosen`, `test/iou_256`, `test/on/<name>/dice/<class>`."""
    name = look.opened.data.name
    parts = [result.metric]
    if result.meaning != "image":
        parts.append(result.meaning)
    if result.at == "chosen":
        parts.append("chosen")
    place = "test" if name == OWN else f"test/on/{name}"
    key = f"{place}/{'_'.join(parts)}"
    return f"{key}/{result.of}" if result.of else key
