"""Check that all nodes reach the store of `--scratch`, before a trial depends on it."""

import io
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path

from harness.core.errors import UserError
from harness.execution.cluster.checkpoint_store import CheckpointStore
from harness.execution.cluster.file_transfer import TransferError

_CONTENT = b"x"


class ScratchCheck:
    """Checkpoint below the scratch that each node must find.

    Args:
        url: of `--scratch`.

    Raises:
        UserError: this machine cannot write there, or see `CheckpointStore`.

    Attributes:
        name: of its folder; random, so that no other scratch has it.
    """

    def __init__(self, url: str) -> None:
        self.name = f"check-{secrets.token_hex(8)}"
        self._store = CheckpointStore(url, self.name)
        try:
            _save(self._store, 0)
        except TransferError as error:
            raise UserError(f"{error}; choose a folder or URL that can be written") from error

    def close(self) -> None:
        """Remove the checkpoint."""
        with suppress(TransferError):
            self._store.clear()


def check_scratch(url: str, name: str) -> None:
    """Look for the checkpoint of a `ScratchCheck` from a node, and write another one.

    Raises:
        UserError: this node has another folder of that name, or lacks a package.
        TransferError: it cannot read or write there.
    """
    store = CheckpointStore(url, name)
    with tempfile.TemporaryDirectory() as folder:
        if not store.restore(0, Path(folder) / "checkpoint"):
            raise UserError(
                f"--scratch {url}: not the folder that the controller's machine has under this "
                "name; choose one that all nodes share"
            )
    number = 1 + secrets.randbelow(10**9)
    _save(store, number)
    store.remove(number)


def _save(store: CheckpointStore, number: int) -> None:
    store.save(number, 1, io.BytesIO(_CONTENT), len(_CONTENT))
