"""Connection to Slurm, the cluster of `--cluster slurm`."""

import os
import shutil
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

from harness.core.errors import UserError
from harness.core.text import count
from harness.execution.cluster.cluster_settings import ClusterSettings
from harness.execution.cluster.messages import InputSource, NodeFacts, TaskInputs
from harness.execution.cluster.node_facts import own_versions
from harness.execution.cluster.slurm.job_watch import JobWatch
from harness.execution.cluster.slurm.mailbox import ControllerMailbox
from harness.execution.cluster.slurm.sbatch import (
    SlurmQueue,
    cancel_by_name,
    parse_sbatch_options,
)
from harness.execution.cluster.slurm.slurm_executor import SlurmExecutor
from harness.execution.cluster.staging import write_probe
from harness.execution.protocol import TrialTask

JOB_PREFIX = "harness"
_GPU_OPTIONS = ("--gres=gpu", "--gpus", "-G")


class SlurmCluster:
    """Jobs of Slurm as a cluster; nothing is submitted before the executor is opened.

    Raises:
        UserError: an option has no meaning for Slurm, or Slurm is not installed here.
    """

    def __init__(self, settings: ClusterSettings) -> None:
        _refuse_options(settings)
        self._settings, self._options = settings, parse_sbatch_options(settings.sbatch)
        self._requests_gpu = any(option.startswith(_GPU_OPTIONS) for option in self._options)
        if settings.gpus_per_trial == 0 and self._requests_gpu:
            raise UserError("--gpus-per-trial 0: --sbatch requests GPUs; remove one of the two")
        _check_installed()

    def check_nodes(self) -> list[NodeFacts]:
        """Describe the nodes as far as the options do: Slurm chooses them later.

        Each node sends its versions before it gets a trial; its worker chooses the precision, which
        trial.json records.
        """
        has_gpu = self._requests_gpu or bool(self._settings.gpus_per_trial)
        return [
            NodeFacts(
                host=socket.gethostname(),
                versions=own_versions(),
                devices=("cuda of a Slurm node" if has_gpu else "cpu of a Slurm node",),
                precision=None,
                memory=None,
                cpus=self._settings.cpus_per_trial,
                pid=os.getpid(),
            )
        ]

    def n_workers(self) -> int:
        """Number of jobs."""
        assert self._settings.workers is not None, "refused"
        return self._settings.workers

    def describe(self) -> str:
        """Number of workers, for the first line of a run."""
        return f"{count(self.n_workers(), 'worker')} as jobs of Slurm"

    def open_executor(
        self, inputs: InputSource, *, study_id: str, say: Callable[[str], None]
    ) -> SlurmExecutor:
        """Submit the workers of a study; the executor closes `inputs` at its end."""
        gpus = self._settings.gpus_per_trial
        return open_slurm_executor(
            inputs.study,
            study_id,
            n_workers=self.n_workers(),
            say=say,
            options=self._options,
            cpus=self._settings.cpus_per_trial,
            gpus=None if gpus is None else int(gpus),
            close_inputs=inputs.close,
        )

    def close(self) -> None:
        """Do nothing: the executor has cancelled its jobs."""


class SharedDiskInputs:
    """Inputs of tasks for nodes that have the controller's disk: only proof of that is sent.

    Args:
        run: folder of the run; a probe file is written there.
        study: folder of the study.
        study_id: of the study.
        on_close: called at the end.
    """

    uses_weights = False  # none are fetched

    def __init__(
        self, run: Path, study: Path, study_id: str, on_close: Callable[[], None] = lambda: None
    ) -> None:
        self.study, self._study_id = study, study_id
        self._probe, self._on_close = write_probe(run / "probe"), on_close

    def build(self, task: TrialTask) -> TaskInputs:
        """Inputs of a task, without any file."""
        record = (task.trial_dir / "trial.json").read_text(encoding="utf-8")
        return TaskInputs(
            task=task, study_id=self._study_id, record=record, shared_probe=self._probe
        )

    def close(self) -> None:
        """Close the inputs that these replace."""
        self._on_close()


def open_slurm_executor(
    study: Path,
    study_id: str,
    *,
    n_workers: int,
    say: Callable[[str], None],
    options: Sequence[str] = (),
    cpus: int = 1,
    gpus: int | None = None,
    close_inputs: Callable[[], None] = lambda: None,
) -> SlurmExecutor:
    """Open the executor of a study, and submit its nodes.

    The jobs of an earlier controller that was killed are cancelled first.

    Args:
        study: folder of the study, on a disk that all nodes have under the same path.
        n_workers: number of jobs.
        options: of sbatch, see `parse_sbatch_options`.
        cpus: processors and threads of each trial.
        gpus: of each trial; None: `options` decide.
        close_inputs: called when the executor is closed.

    Raises:
        UserError: Slurm refuses the jobs.
    """
    _check_installed()
    mailbox = ControllerMailbox(study)
    for token in mailbox.earlier_tokens():
        cancel_by_name(job_name(study, token))
    mailbox.remove_earlier_runs()
    jobs = SlurmQueue(
        mailbox.run, job_name(study, mailbox.token), options=options, cpus=cpus, gpus=gpus
    )
    inputs = SharedDiskInputs(mailbox.run, study, study_id, close_inputs)
    try:
        return SlurmExecutor(mailbox, JobWatch(jobs, n_workers, say), inputs, say=say)
    except BaseException:  # sbatch refuses the options, or Ctrl-C
        mailbox.close()
        jobs.cancel_all()
        inputs.close()
        raise


def job_name(study: Path, token: str) -> str:
    """Name of the jobs of one run, by which they can be cancelled even if their ids are lost."""
    return f"{JOB_PREFIX}-{study.name}-{token}"


def _check_installed() -> None:
    if shutil.which("sbatch") is None:
        raise UserError(
            "--cluster slurm: sbatch is not installed here; run the command on a login node"
        )


def _refuse_options(settings: ClusterSettings) -> None:
    """Refuse options that only Ray understands."""
    if settings.workers is None:
        raise UserError("--workers max: a queue of Slurm has no end; give a number")
    if settings.gpus_per_trial not in (None, 0, 1):
        raise UserError(
            f"--gpus-per-trial {settings.gpus_per_trial:g}: Slurm gives whole GPUs; use 0 or 1"
        )
    given = {
        "--scratch": settings.scratch is not None,
        "--trusted-network": settings.trusted_network,
        "--ship-code": settings.ship_code,
    }
    for name, is_given in given.items():
        if is_given:
            raise UserError(f"{name}: Slurm's nodes share the disk of the study; omit it")
