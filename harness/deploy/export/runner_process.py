"""The runner of a bundle, in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

from harness.core.errors import UserError

_TIMEOUT_S = 3600
# The runner gets no other variable: none may lead it to this package or change its arithmetic.
_KEPT_VARIABLES = ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "SYSTEMROOT", "OMP_NUM_THREADS")


def run_bundle(folder: Path, inputs: Path, out: Path, *options: str) -> None:
    """Predict a folder of images by `predict.py` of the bundle in `folder`.

    -I leaves the current folder, the user's packages and PYTHONPATH out of the module search, so
    that an unpacked harness cannot be imported by accident; one that is installed still could.

    Raises:
        UserError: the runner fails, or refuses an image.
    """
    program = str(folder.absolute() / "predict.py")
    words = [program, str(inputs.absolute()), "--out", str(out.absolute()), *options]
    process = subprocess.run(
        [sys.executable, "-I", *words],
        cwd=inputs,
        env={name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ},
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    if process.returncode:
        reason = (process.stderr.strip() or "no message").splitlines()[-1]
        raise UserError(f"the runner of the bundle failed, so it is not written: {reason}")
