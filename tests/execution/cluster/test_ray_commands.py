"""Commands on nodes that lack the package or have other versions, and what they leave behind."""

import re
import shutil
import signal
import subprocess
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from harness.core.records import read_record, read_records
from tests.execution.cluster.chaos import CLUSTER, results_of, study_of, write_space
from tests.execution.cluster.machines import (
    ROOT,
    RayMachines,
    ray_machines,
    reason_to_skip,
    without_package,
)

SKIP_REASON = reason_to_skip()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.cluster,
    pytest.mark.timeout(600),
    pytest.mark.skipif(SKIP_REASON is not None, reason=str(SKIP_REASON)),
]
SITE = sysconfig.get_paths()["purelib"]
RAY_HELPERS = ("ray::RuntimeEnvAgent", "ray::DashboardAgent", "ray::IDLE", "python")
SECRET = "swordfish-4711"
SECRETS = dict.fromkeys(
    [
        *("AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"),
        *("HF_TOKEN", "HARNESS_STORAGE_PASSWORD", "PGPASSWORD", "SLURM_JWT", "MY_TOKEN"),
    ],
    SECRET,
)


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayMachines]:
    """One node without the package, with the libraries that it needs."""
    folder = tmp_path_factory.mktemp("commands")
    hide, variables = without_package(folder)
    with ray_machines(folder / "far") as machines:
        machines.add_node(1, host="bare", before=hide, **variables)
        yield machines


@pytest.fixture(scope="module")
def options(machines: RayMachines) -> list[str]:
    return write_space(machines.workspace.parent / "space", epochs=2)


def far(machines: RayMachines, *words: str) -> list[str]:
    return [*words, "--workspace", str(machines.workspace), *CLUSTER]


def test_nodes_with_other_versions_end_the_command_before_trial_0(
    machines: RayMachines, options: list[str]
) -> None:
    (metadata,) = Path(SITE).glob("torch-*.dist-info/METADATA")
    changed = machines.folder / "METADATA"
    lines = metadata.read_text(encoding="utf-8").splitlines(keepends=True)
    lines = ["Version: 2.9.1\n" if line.startswith("Version: ") else line for line in lines]
    changed.write_text("".join(lines), encoding="utf-8")
    other = machines.folder / "errors.py"
    errors = ROOT / "harness" / "core" / "errors.py"
    other.write_text(errors.read_text(encoding="utf-8") + "\n# changed\n", encoding="utf-8")
    mounts = f"mount --bind {changed} {metadata}; mount --bind {other} {errors}; "
    number = machines.add_node(1, host="old", before=mounts)
    code, output = machines.run(*far(machines, *options, "--trials", "1"))
    machines.kill_node(number)
    assert code == 2, output
    assert "node bare (127.0.0.1): ModuleNotFoundError: No module named 'harness'" in output
    assert "node old (127.0.0.1): harness source " in output
    assert ", torch 2.9.1 instead of 2." in output
    assert "install the same versions on all nodes; --ship-code sends this package" in output
    assert not study_of(machines.workspace).root.exists(), "nothing was started"


def test_command_says_for_what_it_waits(machines: RayMachines, options: list[str]) -> None:
    words = far(machines, *options, "--trials", "1", "--gpus-per-trial", "0.5", "--ship-code")
    log = machines.folder / "waiting.log"
    with log.open("w", encoding="utf-8") as output:
        process = machines.command(*words, output=output)
    expected = "waiting for 0.5 GPU and 1 CPU: the cluster has "
    end = time.monotonic() + 90
    while expected not in log.read_text(encoding="utf-8") and time.monotonic() < end:
        assert process.poll() is None, log.read_text(encoding="utf-8")
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    process.wait(60)
    line = next(line for line in log.read_text(encoding="utf-8").splitlines() if expected in line)
    # The node that the test before has killed may be counted still.
    assert re.fullmatch(r".* has [12] CPUs? on [23] nodes, of which [12] CPUs? free", line)


def listening(machines: RayMachines) -> dict[int, list[str]]:
    """Addresses on which processes of the namespace listen, by process."""
    command = ["ip", "netns", "exec", machines.namespace, "ss", "-ltnpH"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found: dict[int, list[str]] = {}
    for line in text.splitlines():
        for pid in re.findall(r"pid=(\d+)", line):
            found.setdefault(int(pid), []).append(line.split()[3])
    return found


def listener_kind(pid: int, driver: int) -> str:
    """Name of a process of Ray that listens."""
    command = psutil.Process(pid).cmdline() if pid != driver else ["driver"]
    name = Path(command[0].split()[0]).name
    return name.partition(".")[0]  # ray::AgentActor.next_report while it serves a call


def without_secret(folder: Path) -> int:
    """Number of files in a folder that were read, all without the secret."""
    n_files = 0
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            assert SECRET.encode() not in path.read_bytes(), path
            n_files += 1
    return n_files


ACTORS = """
import ray
from ray._private.state import actors, jobs, state
ray.init(address="127.0.0.1:6379", log_to_driver=False, logging_level=50)
print(actors(), jobs(), ray.nodes())
"""


def test_study_on_a_node_that_was_sent_the_package(
    machines: RayMachines, options: list[str], tmp_path: Path
) -> None:
    words = far(
        machines, *options, "--trials", "3", "--ship-code", "--scratch", str(tmp_path / "s")
    )
    log = machines.folder / "run.log"
    with log.open("w", encoding="utf-8") as output:
        process = machines.command(*words, output=output, **SECRETS)
    workers: set[int] = set()
    ports: dict[int, list[str]] = {}
    listeners: dict[str, list[int]] = {}
    while process.poll() is None:
        if machines.workers() and not listeners:
            workers = {worker.pid for worker in machines.workers()}
            ports = listening(machines)
            for pid, addresses in ports.items():
                kind = listener_kind(pid, process.pid)
                listeners.setdefault(kind, []).append(len(addresses))
            described = machines.python(ACTORS)
        time.sleep(0.05)
    text = log.read_text(encoding="utf-8")
    assert process.returncode == 0, text
    assert workers and not workers & set(ports), "no worker listens"
    # One port for each process that calls others through Ray; the rest are programs of Ray.
    calling = {"driver", "ray::FilesActor", "ray::AgentActor"}
    assert {kind: listeners[kind] for kind in calling} == {kind: [1] for kind in calling}
    assert {"gcs_server", "raylet"} <= set(listeners)
    assert set(listeners) - calling <= {"gcs_server", "raylet", *RAY_HELPERS}, listeners
    assert "AgentActor" in described and SECRET not in described and SECRET not in text
    assert without_secret(machines.folder) > 50 and without_secret(machines.workspace) > 10
    paths = study_of(machines.workspace)
    record = read_record(paths.trial(0).trial_json)
    assert (record.state, record.host) == ("complete", "bare")
    assert [path for path in (tmp_path / "s").rglob("*") if path.is_file()] == []
    assert [(row["state"], len(row["curve"])) for row in results_of(paths)] == [("complete", 2)] * 3


def figures(workspace: Path) -> tuple[list[Any], bytes]:
    """Results of a confirmation, and the values of the test images."""
    paths = study_of(workspace)
    return results_of(paths.confirm), paths.test_run(1).scores_csv.read_bytes()


def test_confirmation_on_a_cluster_gives_the_figures_of_a_local_one(
    machines: RayMachines, tmp_path: Path
) -> None:
    near = tmp_path / "near"
    shutil.copytree(machines.workspace, near)
    words = ["confirm", "--study", "s", "--top", "2", "--seeds", "2"]
    for workspace, place in (
        (machines.workspace, [*CLUSTER, "--ship-code"]),
        (near, ["--device", "cpu"]),
    ):
        code, output = machines.run(*words, "--workspace", str(workspace), *place)
        assert code == 0, output
        code, output = machines.run("test", "--study", "s", "--workspace", str(workspace))
        assert code == 0, output
    near_figures = figures(near)
    assert figures(machines.workspace) == near_figures and len(near_figures[0]) == 4
    assert {r.host for r in read_records(study_of(machines.workspace).confirm)} == {"bare"}
    assert {r.host for r in read_records(study_of(near).confirm)} == {None}
    code, output = machines.run("report", "--study", "s", "--workspace", str(machines.workspace))
    assert code == 0, output
    report = study_of(machines.workspace).report_html
    assert SECRET not in report.read_text(encoding="utf-8")
