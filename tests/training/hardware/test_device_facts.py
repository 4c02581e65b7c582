"""Precision that follows from the facts about a device, for messages before trial 0."""

import pytest

from harness.core.errors import UserError
from harness.training.hardware.device_facts import (
    DeviceFacts,
    describe_precision,
    resolve_precision,
)

T4 = DeviceFacts("cuda:0", "cuda (Tesla T4)", has_bf16=False)
A100 = DeviceFacts("cuda:0", "cuda (NVIDIA A100)", has_bf16=True)
OLD_CPU = DeviceFacts("cpu", "cpu", has_bf16=False)


@pytest.mark.parametrize(("facts", "auto"), [(T4, "fp16"), (A100, "bf16"), (OLD_CPU, "fp32")])
def test_a_known_device_decides(facts: DeviceFacts, auto: str) -> None:
    assert resolve_precision("auto", facts) == describe_precision("auto", facts) == auto
    assert describe_precision("fp32", facts) == "fp32"


def test_a_known_device_refuses_what_it_lacks() -> None:
    with pytest.raises(UserError, match=r"Tesla T4.* has no bf16"):
        describe_precision("bf16", T4)
    with pytest.raises(UserError, match="fp16 needs a CUDA device"):
        describe_precision("fp16", OLD_CPU)


def test_a_device_that_a_scheduler_will_choose_decides_later() -> None:
    gpu = DeviceFacts("cuda", "cuda of a Slurm node", has_bf16=None)
    assert describe_precision("auto", gpu) == "precision as each node has it"
    assert [describe_precision(name, gpu) for name in ("bf16", "fp16")] == ["bf16", "fp16"]
    cpu = DeviceFacts("cpu", "cpu of a Slurm node", has_bf16=None)
    assert describe_precision("bf16", cpu) == "bf16", "some processors have it"
    with pytest.raises(UserError, match="fp16 needs a CUDA device"):
        describe_precision("fp16", cpu)
