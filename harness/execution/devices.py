"""The devices of slots, looked at without touching a GPU from this process.

A process that asks CUDA for more than the number of GPUs may get a context on one: half a gigabyte
of its memory, and in exclusive mode all of it. The controller never trains, so a child process asks
and ends. It sees what the worker of the slot will see, whatever the order of the GPUs, and whether
they are whole or slices (MIG).
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace

from harness.errors import UserError
from harness.execution import boot
from harness.execution.slots import VISIBLE, Slot
from harness.training.device import DeviceFacts, look_at, pick_device

MODULE = "harness.execution.devices"
LONGEST_S = 120.0  # for a child that imports torch from a slow disk


def settle_devices(slots: Sequence[Slot]) -> tuple[tuple[Slot, ...], tuple[DeviceFacts, ...]]:
    """The slots with the device that each worker will use, and what is known of these.

    Raises:
        UserError: no such device here, or a GPU that does not answer.
    """
    views = dict.fromkeys((slot.device, slot.environment.get(VISIBLE)) for slot in slots)
    asked = {view: _ask(*view) for view in views if _is_cuda(*view)}
    found = {
        view: _answer(view[0], asked[view]) if view in asked else look_at(pick_device(view[0]))
        for view in views
    }
    facts = tuple(found[slot.device, slot.environment.get(VISIBLE)] for slot in slots)
    settled = (replace(slot, device=one.device) for slot, one in zip(slots, facts, strict=True))
    return tuple(settled), facts


def main() -> None:
    """Print what is known of the device that the command line names, as JSON."""
    sys.stdout.write(json.dumps(asdict(look_at(pick_device(sys.argv[1])))) + "\n")


def _is_cuda(device: str, visible: str | None) -> bool:
    return visible is not None or pick_device(device).type == "cuda"


def _ask(device: str, visible: str | None) -> "subprocess.Popen[str]":
    shown = {} if visible is None else {VISIBLE: visible}
    return subprocess.Popen(
        boot.command(MODULE, device),
        env=boot.environment() | shown,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )


def _answer(device: str, child: "subprocess.Popen[str]") -> DeviceFacts:
    try:
        printed, errors = child.communicate(timeout=LONGEST_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
        raise UserError(
            f"device {device}: no answer for {LONGEST_S:.0f} s; see nvidia-smi"
        ) from None
    if child.returncode:
        said = (errors.strip().splitlines() or [f"code {child.returncode}"])[-1]
        raise UserError(f"device {device}: cannot be used ({said}); see nvidia-smi")
    return DeviceFacts(**json.loads(printed.splitlines()[-1]))


if __name__ == "__main__":
    main()
