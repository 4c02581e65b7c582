"""Connection to Slurm as a cluster of `--cluster slurm`."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from harness.core.errors import UserError
from harness.core.text import count
from harness.execution.cluster.messages import TaskInputs
from harness.execution.cluster.slurm.job_watch import JobWatch
from harness.execution.cluster.slurm.mailbox import ControllerMailbox
from harness.execution.cluster.slurm.sbatch import SlurmQueue, cancel_by_name
from harness.execution.cluster.slurm.slurm_executor import SlurmExecutor
from harness.execution.cluster.staging import write_probe
from harness.execution.protocol import TrialTask

JOB_PREFIX = "harness"


class SharedDiskInputs:
    """Inputs of tasks for nodes that have the controller's disk: only proof of that is sent.

    Args:
        run: folder of the run; a probe file is written there.
        study_id: of the study.
    """

    def __init__(self, run: Path, study_id: str) -> None:
        self._study_id, self._probe = study_id, write_probe(run / "probe")

    def build(self, task: TrialTask) -> TaskInputs:
        """Inputs of a task, without any file."""
        record = (task.trial_dir / "trial.json").read_text(encoding="utf-8")
        return TaskInputs(
            task=task, study_id=self._study_id, record=record, shared_probe=self._probe
        )


def open_slurm_executor(
    study: Path,
    study_id: str,
    *,
    n_workers: int,
    say: Callable[[str], None],
    options: Sequence[str] = (),
    cpus: int = 1,
    gpus: int | None = None,
) -> SlurmExecutor:
    """Open the executor of a study, and submit its nodes.

    The jobs of an earlier controller that was killed are cancelled first.

    Args:
        study: folder of the study, on a disk that all nodes have under the same path.
        n_workers: number of jobs.
        options: of sbatch, see `parse_sbatch_options`.
        cpus: processors and threads of each trial.
        gpus: of each trial; None: `options` decide.

    Raises:
        UserError: Slurm refuses the jobs.
    """
    if shutil.which("sbatch") is None:
        raise UserError(
            "--cluster slurm: sbatch is not installed here; run the command on a login node"
        )
    mailbox = ControllerMailbox(study)
    for token in mailbox.earlier_tokens():
        cancel_by_name(job_name(study, token))
    mailbox.remove_earlier_runs()
    jobs = SlurmQueue(
        mailbox.run, job_name(study, mailbox.token), options=options, cpus=cpus, gpus=gpus
    )
    inputs = SharedDiskInputs(mailbox.run, study_id)
    return SlurmExecutor(mailbox, JobWatch(jobs, n_workers, say), inputs.build, say=say)


def job_name(study: Path, token: str) -> str:
    """Name of the jobs of one run, by which they can be cancelled even if their ids are lost."""
    return f"{JOB_PREFIX}-{study.name}-{token}"


def workers_text(n_workers: int) -> str:
    """Number of workers, for the first line of a run."""
    return f"{count(n_workers, 'worker')} as jobs of Slurm"
