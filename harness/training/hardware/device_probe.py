"""Facts about the devices of slots, without a CUDA context in this process.

A process that asks CUDA for more than the number of GPUs may get a context on one: half a gigabyte
of its memory, and in exclusive mode the whole GPU. The controller never trains, so a child process
asks and ends. The child sees the same device as the worker of the slot will, independent of the
order of the GPUs, also if they are slices (MIG).
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace

from harness.core.errors import UserError
from harness.execution import interpreter
from harness.execution.slots import VISIBLE_DEVICES, Slot
from harness.training.hardware.device import free_memory_bytes, pick_device, probe_device
from harness.training.hardware.device_facts import DeviceFacts

MODULE = "harness.training.hardware.device_probe"
PROBE_TIMEOUT_S = 120.0  # for a child that imports torch from a slow disk


def resolve_devices(slots: Sequence[Slot]) -> tuple[tuple[Slot, ...], tuple[DeviceFacts, ...]]:
    """Resolve the device of each slot, and find the facts about these devices.

    Raises:
        UserError: a device that is not available, or a GPU that does not answer.
    """
    views = dict.fromkeys((slot.device, slot.environment.get(VISIBLE_DEVICES)) for slot in slots)
    probes = {view: _start_probe(*view) for view in views if _is_cuda(*view)}
    facts_of_view = {
        view: _read_probe(view[0], probes[view])
        if view in probes
        else probe_device(pick_device(view[0]))
        for view in views
    }
    facts = tuple(
        facts_of_view[slot.device, slot.environment.get(VISIBLE_DEVICES)] for slot in slots
    )
    resolved_slots = (
        replace(slot, device=device_facts.device)
        for slot, device_facts in zip(slots, facts, strict=True)
    )
    return tuple(resolved_slots), facts


def main() -> None:
    """Print the facts about the device that the command line names, as JSON."""
    device = pick_device(sys.argv[1])
    facts = probe_device(device)
    if device.type == "cuda":
        facts = replace(facts, free_mb=free_memory_bytes(device) / 1e6)
    sys.stdout.write(json.dumps(asdict(facts)) + "\n")


def _is_cuda(device: str, visible: str | None) -> bool:
    return visible is not None or pick_device(device).type == "cuda"


def _start_probe(device: str, visible: str | None) -> "subprocess.Popen[str]":
    visibility = {} if visible is None else {VISIBLE_DEVICES: visible}
    return subprocess.Popen(
        interpreter.module_command(MODULE, device),
        env=interpreter.child_environment() | visibility,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )


def _read_probe(device: str, child: "subprocess.Popen[str]") -> DeviceFacts:
    try:
        output, errors = child.communicate(timeout=PROBE_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
        raise UserError(
            f"device {device}: no answer within {PROBE_TIMEOUT_S:.0f} s; check it with nvidia-smi"
        ) from None
    if child.returncode:
        last_error_line = (errors.strip().splitlines() or [f"code {child.returncode}"])[-1]
        raise UserError(
            f"device {device}: not usable ({last_error_line}); check it with nvidia-smi"
        )
    return DeviceFacts(**json.loads(output.splitlines()[-1]))


if __name__ == "__main__":
    main()
