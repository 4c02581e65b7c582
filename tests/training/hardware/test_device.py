import pytest
import torch

from harness.core.errors import UserError
from harness.training.hardware.device import describe_device, pick_device, pick_precision


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with two CUDA devices that emulate bf16, as a T4 does."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA T4")
    monkeypatch.setattr(torch.cuda, "device", lambda _: torch.inference_mode())
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation
    )


@pytest.fixture
def cpu_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


def test_auto_takes_the_first_gpu(two_gpus: None) -> None:
    assert pick_device("auto") == torch.device("cuda:0")
    assert pick_device("cuda:1") == torch.device("cuda:1")
    assert describe_device(pick_device("cuda")) == "cuda (NVIDIA T4)"


def test_auto_prefers_mps_to_the_cpu(cpu_only: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert pick_device("auto") == torch.device("cpu")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert pick_device("auto") == torch.device("mps")
    assert describe_device(torch.device("mps")) == "mps"


@pytest.mark.parametrize("wanted", ["cuda", "cuda:0", "mps"])
def test_absent_device_is_refused_with_what_there_is(cpu_only: None, wanted: str) -> None:
    with pytest.raises(UserError, match=f"--device {wanted}: not available here; available: cpu"):
        pick_device(wanted)


def test_gpu_beyond_the_last_is_refused(two_gpus: None) -> None:
    with pytest.raises(
        UserError, match="--device cuda:2: not available here; available: cuda:0, cuda:1"
    ):
        pick_device("cuda:2")


@pytest.mark.parametrize("wanted", ["gpu", "cuda:", "cuda:-1", "", "tpu"])
def test_unknown_device_is_refused_with_the_names(wanted: str) -> None:
    with pytest.raises(
        UserError, match="unknown device; choose from auto, cpu, cuda, cuda:<index>, mps"
    ):
        pick_device(wanted)


def test_auto_precision_is_fp32_on_mps() -> None:
    assert pick_precision("auto", torch.device("mps")) == "fp32"


def test_auto_precision_is_fp16_where_bf16_is_only_emulated(two_gpus: None) -> None:
    assert pick_precision("auto", torch.device("cuda:0")) == "fp16"


def test_auto_precision_is_bf16_where_the_hardware_has_it(
    two_gpus: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)
    assert pick_precision("auto", torch.device("cuda:0")) == "bf16"


def test_asking_for_what_the_device_lacks_is_refused(two_gpus: None) -> None:
    with pytest.raises(UserError, match=r"cuda \(NVIDIA T4\) has no bf16"):
        pick_precision("bf16", torch.device("cuda:0"))
    with pytest.raises(UserError, match="mps has no bf16"):
        pick_precision("bf16", torch.device("mps"))
    with pytest.raises(UserError, match="fp16 needs a CUDA device, and this is cpu"):
        pick_precision("fp16", torch.device("cpu"))


@pytest.mark.parametrize(
    ("capabilities", "has"),
    [
        ({"avx2": True, "avx512_bf16": False, "amx_bf16": True}, True),
        ({"avx512_bf16": True}, True),
        ({"avx2": True, "avx512_bf16": False, "cpu_name": "of bf16"}, False),
        ({}, False),
    ],
)
def test_cpu_gives_bf16_only_with_the_instructions(
    capabilities: dict[str, object], has: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    cpu = torch.device("cpu")
    assert pick_precision("auto", cpu) == ("bf16" if has else "fp32")
    assert pick_precision("fp32", cpu) == "fp32"
    if has:
        assert pick_precision("bf16", cpu) == "bf16"
    else:
        with pytest.raises(UserError, match="cpu has no bf16; use auto or fp32"):
            pick_precision("bf16", cpu)


def test_asked_precision_is_given_where_it_is(two_gpus: None) -> None:
    assert pick_precision("fp16", torch.device("cuda:0")) == "fp16"
    assert pick_precision("fp32", torch.device("cuda:0")) == "fp32"
