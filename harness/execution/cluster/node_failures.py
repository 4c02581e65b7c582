"""Events for faults of a node, its link or the inputs: none of them is the network's."""

import signal
import socket
import traceback
from pathlib import Path

from harness.core import files
from harness.core.errors import DataError, UserError
from harness.core.records import TrialFailure
from harness.execution.cluster.file_transfer import TransferError
from harness.execution.cluster.trial_sender import ControllerDiskFullError
from harness.execution.protocol import Event, TrialFailed, TrialTask, WorkerDied

_MAX_TRACEBACK_CHARS = 8000


def node_failure_event(task: TrialTask, error: Exception) -> Event:
    """Event that ends an attempt for a fault of the agent, its disk or its link.

    A link that fails counts as a pre-emption: the trial is trained again on some node. A full disk
    is waited for, as that of the controller is.
    """
    host = socket.gethostname()
    trial_ids = {"number": task.number, "attempt": task.attempt}
    if isinstance(error, ControllerDiskFullError):
        failure = TrialFailure(cause="disk_full", message=f"files of {host}: {error}")
        return TrialFailed(failure=failure, full_folder=error.folder, **trial_ids)
    if isinstance(error, TransferError):
        return link_loss_event(task, f"{host}: {error}")
    disk_error = files.find_disk_error(error)
    if disk_error is not None:
        folder = files.nearest_existing_folder(disk_error)
        failure = TrialFailure(cause="disk_full", message=f"{host}: {error}")
        return TrialFailed(failure=failure, full_folder=on_host(folder, host), **trial_ids)
    message = f"agent on {host}: {type(error).__name__}: {error}"
    failure = TrialFailure(cause="crashed", message=message, traceback=_traceback_end(error))
    return TrialFailed(failure=failure, **trial_ids)


def input_failure_event(task: TrialTask, error: Exception) -> TrialFailed:
    """Event that ends an attempt whose inputs could not be collected on the controller's machine.

    The cause is the one that a worker on that machine would give: a full disk is waited for, also
    where a DataError tells of it.
    """
    disk_error, cause = files.find_disk_error(error), "crashed"
    if disk_error is not None:
        cause = "disk_full"
    elif isinstance(error, UserError) and not files.find_disk_error(error, files.TRANSIENT_ERRNOS):
        cause = "bad_data" if isinstance(error, DataError) else "bad_configuration"
    message = f"{type(error).__name__}: {error}"
    failure = TrialFailure(cause=cause, message=message, traceback=_traceback_end(error))
    folder = None if disk_error is None else files.nearest_existing_folder(disk_error)
    return TrialFailed(
        number=task.number, attempt=task.attempt, failure=failure, full_folder=folder
    )


def link_loss_event(task: TrialTask, reason: str, number: int = signal.SIGKILL) -> WorkerDied:
    """Event for an attempt that ends with its node or link, as after a signal from outside."""
    return WorkerDied(number=task.number, attempt=task.attempt, exit_code=-number, log_tail=reason)


def with_host(event: Event) -> Event:
    """Name this host in a failure for a full disk: the controller must not look at its own."""
    if not isinstance(event, TrialFailed) or event.failure.cause != "disk_full":
        return event
    host = socket.gethostname()
    failure = event.failure.model_copy(update={"message": f"{host}: {event.failure.message}"})
    folder = on_host(event.full_folder, host)
    return event.model_copy(update={"failure": failure, "full_folder": folder})


def _traceback_end(error: Exception) -> str:
    return "".join(traceback.format_exception(error))[-_MAX_TRACEBACK_CHARS:]


def on_host(folder: Path | None, host: str) -> Path | None:
    """`HOST:FOLDER`, as scp writes it: a relative path, so never a folder of the controller."""
    return None if folder is None else Path(f"{host}:{folder}")
