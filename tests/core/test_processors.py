"""Processors of a container, of taskset and of Slurm decide the number of threads."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.core import processors
from harness.core.processors import available_processors, available_threads, openmp_defaults
from harness.execution.prestart import start_worker_process


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty tree of control groups; this process seems to have 64 processors."""
    monkeypatch.setattr(processors, "CGROUP_ROOT", tmp_path / "cgroup")
    monkeypatch.setattr(processors, "PROC_CGROUP", tmp_path / "proc")
    monkeypatch.setattr(processors, "_n_affine", lambda: 64)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    (tmp_path / "proc").write_text("0::/box/inner\n")
    (tmp_path / "cgroup" / "box" / "inner").mkdir(parents=True)
    return tmp_path / "cgroup"


@pytest.mark.parametrize(
    ("inner", "outer", "expected"),
    [
        ("100000 100000", "max 100000", 1),
        ("max 100000", "250000 100000", 3),  # rounded up; the group above limits
        ("50000 100000", "max 100000", 1),
        ("max 100000", "max 100000", 64),
        ("9900000 100000", "max 100000", 64),
        ("", "nonsense", 64),
    ],
)
def test_quota_of_control_groups(groups: Path, inner: str, outer: str, expected: int) -> None:
    (groups / "box" / "inner" / "cpu.max").write_text(inner)
    (groups / "box" / "cpu.max").write_text(outer)
    assert available_processors() == expected
    assert available_threads() == expected


def test_container_that_sees_its_own_group_as_the_root(groups: Path) -> None:
    """The name in /proc is that of the host, where there is no such folder here."""
    (groups.parent / "proc").write_text("0::/docker/0123\n")
    (groups / "cpu.max").write_text("200000 100000")
    assert available_processors() == 2


def test_quota_of_the_first_version(groups: Path) -> None:
    (groups.parent / "proc").write_text("4:memory:/box\n2:cpu,cpuacct:/box\n0::/\n")
    box = groups / "cpu,cpuacct" / "box"
    box.mkdir(parents=True)
    (box / "cpu.cfs_period_us").write_text("50000")
    (box / "cpu.cfs_quota_us").write_text("150000")
    assert available_processors() == 3
    (box / "cpu.cfs_quota_us").write_text("-1")
    assert available_processors() == 64


def test_no_control_groups(groups: Path) -> None:
    (groups.parent / "proc").unlink()
    assert available_processors() == 64


def test_affinity_is_a_limit() -> None:
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from harness.core.processors import available_processors as n; print(n())"
    )
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout == "1\n"


def test_workers_that_share_cores_share_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert available_threads() == 3
    for nothing in ("", "0", "four"):
        monkeypatch.setenv("OMP_NUM_THREADS", nothing)
        assert available_threads() >= 1


def test_defaults_of_openmp_leave_what_is_set(groups: Path) -> None:
    assert openmp_defaults({}) == {"GOMP_SPINCOUNT": "3000"}
    (groups / "cpu.max").write_text("100000 100000")
    assert openmp_defaults({}) == {"GOMP_SPINCOUNT": "3000", "OMP_NUM_THREADS": "1"}
    assert openmp_defaults({"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "ACTIVE"}) == {}
    assert openmp_defaults({"GOMP_SPINCOUNT": "1", "OMP_NUM_THREADS": "2"}) == {}


@pytest.fixture
def one_core() -> Iterator[Path]:
    """A real control group with a quota of one processor; its file of processes."""
    v1 = Path("/sys/fs/cgroup/cpu")
    root = v1 if (v1 / "cpu.cfs_quota_us").exists() else Path("/sys/fs/cgroup")
    group = root / f"harness-test-{os.getpid()}"
    try:
        group.mkdir()
        if root is v1:
            (group / "cpu.cfs_quota_us").write_text("100000")
        else:
            (group / "cpu.max").write_text("100000 100000")
        with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
            (group / "cgroup.procs").write_text(str(process.pid))  # may be forbidden
    except OSError as error:
        if group.exists():
            group.rmdir()
        pytest.skip(f"control groups cannot be made here: {error}")
    yield group / "cgroup.procs"
    group.rmdir()


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="has one processor without a quota, too")
def test_worker_in_a_container_of_one_core_has_one_thread(
    one_core: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The module that a worker would run is replaced by one that counts threads."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    (tmp_path / "count_threads.py").write_text(
        "import torch\nfrom harness.core.processors import available_threads\n"
        "print(torch.get_num_threads(), available_threads())"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    launcher = (
        f"import os, pathlib, sys; pathlib.Path({str(one_core)!r}).write_text(str(os.getpid()))\n"
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        "from harness.execution.prestart import start_worker_process\n"
        "import subprocess\n"
        "done = start_worker_process('count_threads', {}, subprocess.DEVNULL)\n"
        "print(done.communicate()[0].decode(), end='')"
    )
    done = subprocess.run([sys.executable, "-c", launcher], capture_output=True, text=True)
    assert done.stdout.split() == ["1", "1"], done.stderr


def test_worker_waits_for_other_threads_with_little_spinning(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    (tmp_path / "spin_count.py").write_text("import os; print(os.environ['GOMP_SPINCOUNT'])")
    monkeypatch.syspath_prepend(str(tmp_path))
    own = start_worker_process("spin_count", {}, subprocess.DEVNULL)
    assert own.communicate()[0] == b"3000\n"
    given = start_worker_process("spin_count", {"GOMP_SPINCOUNT": "7"}, subprocess.DEVNULL)
    assert given.communicate()[0] == b"7\n"
