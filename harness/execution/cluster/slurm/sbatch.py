"""Commands of Slurm: sbatch, squeue and scancel, by argument lists and without secrets."""

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from harness.core import files
from harness.core.errors import UserError
from harness.execution import interpreter

NODE_MODULE = "harness.execution.cluster.slurm.node"
COMMAND_TIMEOUT_S = 60.0
SIGNAL_OPTION = "--signal=B:USR1@120"  # to the node itself, 120 s before the time limit
# Options that the executor sets itself, or with which sbatch submits nothing.
RESERVED_OPTIONS = (
    *("--array", "-a", "--job-name", "-J", "--output", "-o", "--error", "-e", "--open-mode"),
    *("--parsable", "--wrap", "--wait", "-W", "--test-only", "--help", "-h", "--usage"),
    *("--version", "-V", "--chdir", "-D", "--export", "--export-file", "--get-user-env"),
    *("--cpus-per-task", "-c", "--ntasks", "-n", "--nodes", "-N", "--no-requeue", "--requeue"),
)
# Slurm stores the environment of sbatch on other machines and gives it to the job: it receives what
# a node needs, and no passwords or tokens of the user.
EXPORTED_VARIABLES = (
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "LC_CTYPE", "TZ"),
    *("LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONSAFEPATH", "VIRTUAL_ENV", "CONDA_PREFIX"),
    *("HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "TORCH_HOME", "XDG_CACHE_HOME"),
    *("HARNESS_DATA_DIR", "OMP_WAIT_POLICY", interpreter.IMPORT_PATHS_VARIABLE),
    "SLURM_CONF",
)
OPTION_PREFIX = "SBATCH_"  # the user's defaults for options of sbatch, see sbatch(1)


def parse_sbatch_options(text: str) -> tuple[str, ...]:
    """Split `--sbatch "--partition=gpu --time=04:00:00"` into options.

    Raises:
        UserError: a word is no option, or an option that the executor sets itself.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UserError(f"--sbatch {text}: {error}; close the quotation") from error
    for word in words:
        name, _, value = word.partition("=")
        if not word.startswith("-") or name in ("-", "--"):
            # sbatch would take it for the script of the job.
            raise UserError(f"--sbatch: {word!r} is no option; write --name=value, e.g. --mem=16G")
        if _is_reserved(name):
            raise UserError(f"--sbatch: {name} is set by this command; remove it")
        if name == "--signal" and not value.startswith(("B:USR1", "B:TERM", "B:10", "B:15")):
            raise UserError(f"--sbatch: {word}: must be --signal=B:USR1@SECONDS")
    return tuple(words)


class SlurmQueue:
    """Jobs of one run in Slurm; a `JobQueue`.

    Args:
        run: folder of the run, which the nodes have under the same path.
        name: of the jobs; unique, as all jobs of this name are cancelled at the end.
        options: of the user, see `parse_sbatch_options`.
        cpus: processors and threads of each trial.
        gpus: of each trial; None: `options` decide.
    """

    def __init__(
        self,
        run: Path,
        name: str,
        *,
        options: Sequence[str] = (),
        cpus: int = 1,
        gpus: int | None = None,
        module: str = NODE_MODULE,
    ) -> None:
        self._run, self._name, self._options = run, name, options
        self._cpus, self._gpus, self._module = cpus, gpus, module
        self._script = run / "node.sh"
        files.write_text(self._script, '#!/bin/sh\nexec "$@"\n')

    def submit(self, n_jobs: int) -> list[str]:
        command = [
            "sbatch",
            "--parsable",
            f"--job-name={self._name}",
            f"--array=0-{n_jobs - 1}",
            f"--cpus-per-task={self._cpus}",
            *([] if not self._gpus else [f"--gres=gpu:{self._gpus}"]),
            "--requeue",
            "--open-mode=append",
            f"--output={str(self._run).replace('%', '%%')}/logs/%A_%a.log",
            f"--chdir={self._run}",
            "--export=ALL",  # of the environment below
            SIGNAL_OPTION,
            *self._options,
            str(self._script),
            *interpreter.module_command(self._module, str(self._run)),
        ]
        threads = str(self._cpus)
        environment = node_environment(interpreter.child_environment()) | {
            "OMP_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
        }
        job = _run_command(command, environment).strip().partition(";")[0]
        return [f"{job}_{index}" for index in range(n_jobs)]

    def states(self) -> dict[str, tuple[str, str]] | None:
        command = ["squeue", "--noheader", "--array", "--states=all", f"--name={self._name}"]
        try:
            output = _run_command([*command, "--format=%i|%T|%r"])
        except UserError:
            return None
        rows = [line.split("|", 2) for line in output.splitlines() if line.count("|") >= 2]
        return {job.strip(): (state, reason.strip()) for job, state, reason in rows}

    def cancel(self, job: str) -> None:
        _cancel([job])

    def cancel_all(self) -> None:
        cancel_by_name(self._name)

    def log(self, job: str) -> Path:
        return self._run / "logs" / f"{job}.log"


def cancel_by_name(name: str) -> None:
    """Cancel all own jobs of a name, running or waiting; nothing if there are none."""
    _cancel([f"--name={name}"])


def node_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Select the variables that a node may receive."""
    return {
        name: value
        for name, value in environment.items()
        if name in EXPORTED_VARIABLES or name.startswith(OPTION_PREFIX)
    }


def _is_reserved(name: str) -> bool:
    if name.startswith("--"):
        # sbatch accepts the beginning of a long option, too.
        return any(option.startswith(name) for option in RESERVED_OPTIONS if len(option) > 2)
    return name[:2] in RESERVED_OPTIONS


def _cancel(arguments: Sequence[str]) -> None:
    with suppress(UserError):  # nodes end by themselves when they see that the run is closed
        _run_command(["scancel", "--quiet", *arguments])


def _run_command(command: Sequence[str], environment: Mapping[str, str] | None = None) -> str:
    """Output of a command of Slurm. Raises UserError with its message."""
    environment = dict(os.environ) if environment is None else environment
    try:
        process = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError as error:
        raise UserError(
            f"--cluster slurm: {command[0]} is not installed here; run the command on a login node"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise UserError(
            f"{command[0]} has not answered within {COMMAND_TIMEOUT_S:.0f} s; is Slurm running?"
        ) from error
    if process.returncode:
        raise UserError(f"{command[0]} failed: {process.stderr.strip()[-1000:]}")
    return process.stdout
