"""`harness run --cluster slurm` on a real Slurm of one machine, through the command line."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from harness.core.records import read_record
from tests.execution.cluster.slurm.slurm_machine import reason_to_skip, slurm_machine
from tests.execution.cluster.test_ray_study import results_of, study_of, write_space

pytestmark = [pytest.mark.slow, pytest.mark.cluster, pytest.mark.timeout(600)]
LOGIN_NODE_BYTES = 2**30
SECRET = "s3cr3t-0123456789"
SECRET_NAMES = ("AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "MLFLOW_TRACKING_PASSWORD", "RAY_AUTH_TOKEN")


@pytest.fixture(scope="module")
def slurm() -> Iterator[dict[str, str]]:
    """Environment of a command that finds Slurm."""
    if (reason := reason_to_skip()) is not None:
        pytest.skip(reason)
    with slurm_machine() as configuration:
        if isinstance(configuration, str):
            pytest.skip(configuration)
        threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        yield os.environ | threads | {"SLURM_CONF": str(configuration)}


class MeasuredCommand:
    """A command whose memory is watched.

    Attributes:
        peak: most bytes of memory of its own process that the kernel cannot take back.
        peak_mapped: the same with the mapped files, i.e. with the libraries.
        cpu_s: processor time of its own process.
    """

    def __init__(self, environment: dict[str, str], *words: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "harness", *words],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.peak, self.peak_mapped, self.cpu_s, self.seconds, self.output = 0, 0, 0.0, 0.0, ""

    def wait(self) -> int:
        started, own = time.monotonic(), psutil.Process(self.process.pid)
        while self.process.poll() is None:
            try:
                memory = own.memory_info()
                self.peak = max(self.peak, memory.rss - memory.shared)
                self.peak_mapped = max(self.peak_mapped, memory.rss)
                self.cpu_s = sum(own.cpu_times()[:2])
            except psutil.NoSuchProcess:
                break
            time.sleep(0.1)
        self.seconds = time.monotonic() - started
        self.output = self.process.communicate()[0]
        return self.process.returncode


def states(environment: dict[str, str]) -> dict[str, str]:
    command = ["squeue", "--noheader", "--array", "--format=%i|%T"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return dict(line.split("|") for line in done.stdout.splitlines())


def wait_for_no_jobs(environment: dict[str, str]) -> None:
    end = time.monotonic() + 30
    while states(environment):
        assert time.monotonic() < end, states(environment)
        time.sleep(0.5)


def test_study_on_slurm_equals_the_local_one(slurm: dict[str, str], tmp_path: Path) -> None:
    options = [*write_space(tmp_path / "space", epochs=3), "--trials", "4"]
    far, near = tmp_path / "far", tmp_path / "near"
    command = MeasuredCommand(
        slurm | dict.fromkeys(SECRET_NAMES, SECRET),
        *options,
        *("--workspace", str(far), "--cluster", "slurm", "--workers", "2"),
        *("--sbatch", "--time=10"),
    )
    assert command.wait() == 0, command.output
    mib = [n // 2**20 for n in (command.peak, command.peak_mapped)]
    seconds = f"{command.cpu_s:.1f} s of {command.seconds:.1f} s"
    sys.stdout.write(f"controller: {mib} MiB without and with libraries, {seconds}\n")
    assert command.peak < LOGIN_NODE_BYTES
    wait_for_no_jobs(slurm)
    local = MeasuredCommand(slurm, *options, "--workspace", str(near), "--device", "cpu")
    assert local.wait() == 0, local.output
    assert results_of(study_of(far)) == results_of(study_of(near))
    assert [row["state"] for row in results_of(study_of(far))] == ["complete"] * 4
    record = read_record(study_of(far).trial(0).trial_json)
    assert record.host is not None
    assert "2 workers as jobs of Slurm" in command.output
    files = [path for path in far.rglob("*") if path.is_file()]
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]
    spool = Path(slurm["SLURM_CONF"]).parent
    spooled = [path for path in spool.rglob("*") if path.is_file()]
    assert spooled and not [path for path in spooled if SECRET.encode() in path.read_bytes()]


def test_a_killed_controller_is_continued_with_exactly_its_trials(
    slurm: dict[str, str], tmp_path: Path
) -> None:
    options = [*write_space(tmp_path / "space", epochs=20), "--trials", "3"]
    words = [*options, "--workspace", str(tmp_path / "far"), "--cluster", "slurm", "--workers", "2"]
    first = MeasuredCommand(slurm, *words)
    log = study_of(tmp_path / "far").trial(0).epochs_jsonl
    end = time.monotonic() + 120
    while not log.exists() and first.process.poll() is None:
        assert time.monotonic() < end
        time.sleep(0.1)
    os.kill(first.process.pid, signal.SIGKILL)
    first.wait()
    before = set(states(slurm))
    assert before
    second = MeasuredCommand(slurm, *words)
    assert second.wait() == 0, second.output
    near = MeasuredCommand(slurm, *options, "--workspace", str(tmp_path / "near"))
    assert near.wait() == 0, near.output
    assert results_of(study_of(tmp_path / "far")) == results_of(study_of(tmp_path / "near"))
    wait_for_no_jobs(slurm)
