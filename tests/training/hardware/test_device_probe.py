"""The controller learns of GPUs from children, and hands each task the device of its slot."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from harness.core.errors import UserError
from harness.execution.local_executor import LocalExecutor
from harness.execution.protocol import TrialTask
from harness.execution.slots import Slot, plan_slots, visible_gpus
from harness.search.definition.context import device_line
from harness.training.hardware import device_probe
from harness.training.hardware.device import probe_device
from harness.training.hardware.device_probe import resolve_devices
from tests.execution.test_local_executor import ROOT, task

# In place of a child that asks CUDA: it knows GPUs by how the environment names them.
CHILD = """
import json, os, sys
shown = os.environ.get("CUDA_VISIBLE_DEVICES", "all")
with open(sys.argv[2], "a") as file:
    file.write(f"{sys.argv[1]} {shown}\\n")
if shown == "MIG-broken":
    sys.exit("RuntimeError: CUDA error: invalid device")
old = shown in ("1", "GPU-b")
name = "Tesla T4" if old else "NVIDIA A100"
print("a library's chatter")
print(json.dumps({"device": "cuda:0", "description": f"cuda ({name})", "has_bf16": not old}))
"""


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two GPUs; a log of what children were asked. This process must not touch one."""

    def touched(*_: object) -> None:
        raise AssertionError("the controller has created a CUDA context")

    log = tmp_path / "asked"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for name in ("_lazy_init", "get_device_name", "get_device_properties", "device"):
        monkeypatch.setattr(torch.cuda, name, touched)
    monkeypatch.setattr(
        device_probe.interpreter,
        "module_command",
        lambda module, device: [sys.executable, "-c", CHILD, device, str(log)],
    )
    return log


def lines(log: Path) -> list[str]:
    return sorted(log.read_text(encoding="utf-8").splitlines())


def test_each_gpu_is_asked_once_as_its_workers_will_see_it(asked: Path) -> None:
    slots = plan_slots(gpus="all", per_gpu=2, visible=("0", "1"), threads=8)
    settled, facts = resolve_devices(slots)
    assert lines(asked) == ["cuda 0", "cuda 1"]
    assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in settled] == ["0", "1", "0", "1"]
    assert [slot.device for slot in settled] == ["cuda:0"] * 4
    assert [one.has_bf16 for one in facts] == [True, False, True, False]
    assert device_line(facts) == "cuda (NVIDIA A100) and cuda (Tesla T4)"


@pytest.mark.parametrize("device", ["auto", "cuda", "cuda:1"])
def test_one_slot_is_asked_about_in_the_environment_as_it_is(
    asked: Path, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    (slot,), (facts,) = resolve_devices(plan_slots(device=device))
    assert lines(asked) == [f"{device} all"]
    assert slot.device == facts.device == "cuda:0" and not slot.environment


def test_slices_of_a_gpu_are_asked_one_by_one(asked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA shows a process one slice, however many are named."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-a, MIG-b,MIG-c")
    slots = plan_slots(gpus="all", visible=visible_gpus(1))
    settled, _ = resolve_devices(slots)
    assert lines(asked) == ["cuda MIG-a", "cuda MIG-b", "cuda MIG-c"]
    assert [slot.device for slot in settled] == ["cuda:0"] * 3


def test_gpu_that_cannot_be_used_is_told_before_anything_is_written(asked: Path) -> None:
    with pytest.raises(UserError, match=r"device cuda: .*\(RuntimeError: CUDA error: invalid dev"):
        resolve_devices((Slot("cuda", {"CUDA_VISIBLE_DEVICES": "MIG-broken"}),))


@pytest.mark.parametrize(("threads", "line"), [(1, "cpu (1 thread)"), (4, "cpu (4 threads)")])
def test_no_child_is_started_for_the_cpu(
    threads: int, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "Popen", None)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    settled, facts = resolve_devices(plan_slots(workers=2, threads=4))
    assert [slot.device for slot in settled] == ["cpu", "cpu"]
    assert facts == (probe_device(torch.device("cpu")),) * 2
    assert device_line(facts[:1]) == line


def test_child_prints_what_is_known_of_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    answer = device_probe._read_probe("cpu", device_probe._start_probe("cpu", None))
    assert answer == probe_device(torch.device("cpu"))
    with pytest.raises(UserError, match=r"not usable \(.*choose from auto, cpu, cuda"):
        device_probe._read_probe("tpu", device_probe._start_probe("tpu", None))


def test_child_of_a_gpu_measures_its_free_memory(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = device_probe.DeviceFacts("cuda:0", "cuda (A)", True)
    monkeypatch.setattr(sys, "argv", ["probe", "cuda"])
    monkeypatch.setattr(device_probe, "pick_device", lambda _: torch.device("cuda:0"))
    monkeypatch.setattr(device_probe, "probe_device", lambda _: facts)
    monkeypatch.setattr(device_probe, "free_memory_bytes", lambda _: 5_000_000_000)
    device_probe.main()
    expected = {"device": "cuda:0", "description": "cuda (A)", "has_bf16": True, "free_mb": 5000}
    assert json.loads(capsys.readouterr().out) == expected


@pytest.mark.parametrize(
    ("slot", "device"),
    [(Slot("cuda:0", {"CUDA_VISIBLE_DEVICES": "3"}), "cuda:0"), (Slot("auto"), "cpu")],
)
def test_task_names_the_device_of_its_slot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slot: Slot, device: str
) -> None:
    """Only a slot that leaves it open takes the one of the controller, here the CPU."""
    sent: list[bytes] = []
    executor = LocalExecutor(lambda _: tmp_path / "log", slots=(slot,))
    (worker,) = executor._workers
    monkeypatch.setattr(worker, "_launch", lambda: None)
    monkeypatch.setattr(worker, "send", sent.append)
    executor.start(task(0, 0))
    assert TrialTask.model_validate_json(sent[0]).device == device


@pytest.mark.parametrize(
    ("named", "n_gpus", "expected"),
    [
        ("MIG-a,MIG-b", 1, ("MIG-a", "MIG-b")),
        ("MIG-GPU-1/0/0, MIG-GPU-1/1/0", 1, ("MIG-GPU-1/0/0", "MIG-GPU-1/1/0")),
        ("MIG-a,GPU-b", 1, ("MIG-a",)),
        ("MIG-a,MIG-a", 1, ()),
        ("MIG-a,MIG-b", 0, ()),
        ("GPU-a,GPU-b", 2, ("GPU-a", "GPU-b")),
        ("GPU-a,1", 1, ("GPU-a",)),
        ("", 0, ()),
        ("-1", 0, ()),
        ("2,-1,0", 1, ("2",)),
        ("1,1", 0, ()),
    ],
)
def test_visible_gpus_follow_what_cuda_makes_of_the_names(
    monkeypatch: pytest.MonkeyPatch, named: str, n_gpus: int, expected: tuple[str, ...]
) -> None:
    """`n_gpus` is CUDA's own count: NVIDIA's programming guide, environment variables."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert visible_gpus(n_gpus) == expected
    parsed = torch.cuda._parse_visible_devices()
    if not named.startswith("MIG-"):
        assert len(parsed) == n_gpus, "as torch reads it"
