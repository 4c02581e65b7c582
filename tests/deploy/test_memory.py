"""Resident memory of command, app and runner over all hostile files, libraries included."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from harness.deploy.app.access import AccessPolicy
from tests.deploy.app.serving import RunningApp
from tests.deploy.hostile_files import hostile_files, uploads

ROOT = Path(__file__).resolve().parents[2]
LIMIT_BYTES = 10**9
HARNESS = [sys.executable, "-W", "ignore", "-m", "harness"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc; ru_maxrss is in other units"),
]


KEPT_VARIABLES = ("HOME", "LANG", "LD_LIBRARY_PATH", "PATH", "TMPDIR")


def environment() -> dict[str, str]:
    """Variables of a user's shell: those that other tests leave behind must not count."""
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    return kept | {"OMP_NUM_THREADS": "2", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}


def made_study_of_its_own(folder: Path) -> None:
    """Write the study by a process of its own, which has no components of other tests."""
    code = "from pathlib import Path; from tests.deploy.made_study import made_study; "
    code += "made_study(Path.cwd())"
    subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment(), check=True)


# A process of its own, which is small: ru_maxrss of a child begins with the memory of its parent.
LAUNCHER = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL)
print(code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def run_to_end(words: Sequence[str], folder: Path) -> tuple[int, int, str]:
    """Exit code, bytes of the highest resident memory, and what was printed on stderr."""
    launched = subprocess.run(
        [sys.executable, "-I", "-c", LAUNCHER, *words],
        cwd=folder, env=environment(), capture_output=True, text=True, check=True,
    )  # fmt: skip
    code, peak_kb = map(int, launched.stdout.split())
    return code, peak_kb * 1024, launched.stderr[-2000:]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All hostile files, each in a folder of its own."""
    folder = tmp_path_factory.mktemp("hostile")
    for k, file in enumerate(hostile_files()):
        file.write(folder / str(k))
    return folder


def test_command_stays_below_a_gigabyte(files: Path, tmp_path: Path) -> None:
    made_study_of_its_own(tmp_path)
    words = ["predict", "--study", "made", str(files), "--out", "out", "--device", "cpu"]
    code, peak, errors = run_to_end([*HARNESS, *words], tmp_path)
    assert code == 1 and (tmp_path / "out" / "predictions.csv").is_file(), errors
    assert peak < LIMIT_BYTES


def test_runner_stays_below_a_gigabyte(files: Path, tmp_path: Path, any_bundle: Path) -> None:
    words = [sys.executable, "-I", str(any_bundle / "predict.py"), str(files), "--out", "out"]
    code, peak, errors = run_to_end(words, tmp_path)
    assert code == 1 and any((tmp_path / "out").rglob("*.png")), errors
    assert peak < LIMIT_BYTES


@contextmanager
def served(words: Sequence[str], folder: Path) -> Iterator[tuple[RunningApp, Callable[[], int]]]:
    """The app as a process, and a function to its highest resident memory in bytes."""
    command = [*HARNESS, "app", *words, "--port", "0", "--device", "cpu"]
    process = subprocess.Popen(
        command, cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        port = urlsplit(process.stdout.readline().strip()).port
        assert port is not None
        page = RunningApp(port, AccessPolicy("127.0.0.1")).request("GET", "/").body.decode()
        (token,) = re.findall(r"&#34;token&#34;: ?&#34;([\w-]+)&#34;", page)
        status = Path(f"/proc/{process.pid}/status")
        yield (
            RunningApp(port, AccessPolicy("127.0.0.1", csrf_token=token)),
            lambda: int(re.findall(r"VmHWM:\s+(\d+) kB", status.read_text())[0]) * 1024,
        )
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)


def upload_all(app: RunningApp, key: str) -> set[int]:
    path = f"/api/predict?model={key}"
    return {app.request("POST", path, file.upload or b"").status for file in uploads()}


def test_app_of_a_study_stays_below_a_gigabyte(tmp_path: Path) -> None:
    made_study_of_its_own(tmp_path)
    with served(["--study", "made"], tmp_path) as (app, peak):
        assert upload_all(app, "0") == {200, 422}
        assert peak() < LIMIT_BYTES


def test_app_of_a_bundle_needs_no_torch(tmp_path: Path, any_bundle: Path) -> None:
    """Torch alone takes more than half a gigabyte."""
    with served(["--bundle", str(any_bundle)], tmp_path) as (app, peak):
        assert upload_all(app, "bundle") == {200, 422}
        assert peak() < LIMIT_BYTES / 2
