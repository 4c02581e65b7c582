"""Slots: the number of trials that train simultaneously, and the device of each."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile

from harness.core.errors import UserError
from harness.execution.gpu_packing import PerGpu, max_trials_per_gpu

VISIBLE_DEVICES = "CUDA_VISIBLE_DEVICES"
MIG_PREFIX = "MIG-"  # of the name of a slice of a GPU


@dataclass(frozen=True)
class Slot:
    """Place for one worker process.

    Attributes:
        device: as `TrialTask.device`; a worker that sees one GPU alone calls it "cuda".
        environment: variables that override those of this process.
    """

    device: str
    environment: Mapping[str, str] = field(default_factory=dict)


def shares_gpu(slot: Slot, slots: Sequence[Slot]) -> bool:
    """True if several of the slots are on the GPU of this one."""
    gpu = slot.environment.get(VISIBLE_DEVICES)
    return gpu is not None and sum(s.environment.get(VISIBLE_DEVICES) == gpu for s in slots) > 1


def plan_slots(
    *,
    device: str = "auto",
    gpus: str | None = None,
    per_gpu: PerGpu | None = None,
    workers: int | None = None,
    visible: Sequence[str] = (),
    threads: int = 1,
) -> tuple[Slot, ...]:
    """Plan one slot on `device`, `workers` slots on the CPU, or `per_gpu` slots on each GPU.

    The CPU threads are divided among the slots, at least one each, so that the workers together
    start about as many threads as there are cores. A single slot has all of them.

    Args:
        gpus: "all", or positions among the visible ones, e.g. "0,2". None, with `per_gpu`: all.
        per_gpu: "auto": as many as the threads allow; the executor uses as many as fit.
        visible: the GPUs that may be used, as CUDA_VISIBLE_DEVICES names them.
        threads: number of CPU threads of all workers together.

    Raises:
        UserError: a GPU that does not exist, or options that exclude one another.
    """
    if gpus is not None or per_gpu is not None:
        if device not in ("auto", "cuda"):
            raise UserError(
                f"--device {device}: cannot be combined with --gpus or --per-gpu; use one of them"
            )
        if workers is not None:
            raise UserError(
                "--workers: starts workers on the CPU; for several workers on a GPU use --per-gpu"
            )
        chosen_gpus = _select_gpus(gpus or "all", visible)
        n_per_gpu = _count_per_gpu(per_gpu, threads, len(chosen_gpus))
        thread_limits = _thread_limits(threads, n_per_gpu * len(chosen_gpus))
        # A trial takes the first free slot: so every GPU gets its first trial before a second one.
        return tuple(
            Slot("cuda", {VISIBLE_DEVICES: gpu} | thread_limits)
            for _ in range(n_per_gpu)
            for gpu in chosen_gpus
        )
    if workers is not None:
        if device not in ("auto", "cpu"):
            raise UserError(
                f"--workers: starts workers on the CPU; omit --workers or --device {device}"
            )
        n_workers = _check_count("--workers", workers)
        return tuple(Slot("cpu", _thread_limits(threads, n_workers)) for _ in range(n_workers))
    return (Slot(device),)


def visible_gpus(n_gpus: int) -> tuple[str, ...]:
    """List the GPUs that workers may use, as CUDA_VISIBLE_DEVICES names them.

    Args:
        n_gpus: number of GPUs that CUDA shows to this process. CUDA stops at the first name that it
            does not know, and shows nothing if a name occurs twice. Of slices (MIG) it shows one
            to each process, however many are named; each worker gets one of them.
    """
    visible = os.environ.get(VISIBLE_DEVICES)
    if visible is None:
        return tuple(str(index) for index in range(n_gpus))
    names = tuple(name.strip() for name in visible.split(","))
    if n_gpus and names[0].startswith(MIG_PREFIX):
        slices = tuple(takewhile(lambda name: name.startswith(MIG_PREFIX), names))
        return slices if len(set(slices)) == len(slices) else ()
    return names[:n_gpus]


def _select_gpus(gpus: str, visible: Sequence[str]) -> list[str]:
    """Names of the GPUs at these positions of CUDA_VISIBLE_DEVICES."""
    if not visible:
        raise UserError(
            f"--gpus {gpus}: no GPU here that CUDA can use (see nvidia-smi and "
            f"{VISIBLE_DEVICES}); omit --gpus and --per-gpu to train on the CPU"
        )
    if gpus == "all":
        return list(visible)
    positions = ", ".join(str(index) for index in range(len(visible)))
    words = [word.strip() for word in gpus.split(",")]
    invalid = [
        w
        for w in words
        if not (w.isascii() and w.isdigit() and len(w) < 5 and int(w) < len(visible))
    ]
    if invalid:
        raise UserError(f"--gpus {gpus}: no GPU {invalid[0]!r}; choose all, or some of {positions}")
    if len({int(word) for word in words}) < len(words):
        raise UserError(
            f"--gpus {gpus}: name each GPU once; for several workers on one use --per-gpu"
        )
    return [visible[int(word)] for word in words]


def _count_per_gpu(per_gpu: PerGpu | None, threads: int, n_gpus: int) -> int:
    if per_gpu == "auto":
        return max_trials_per_gpu(threads, n_gpus)
    return 1 if per_gpu is None else _check_count("--per-gpu", per_gpu)


def _check_count(option: str, value: int) -> int:
    if not 1 <= value <= 64:
        raise UserError(f"{option} {value}: must be from 1 to 64")
    return value


def _thread_limits(threads: int, n_slots: int) -> dict[str, str]:
    """Variables that limit the threads of one of several workers: torch, OpenMP and MKL."""
    if n_slots == 1:
        return {}
    n_threads = str(max(1, threads // n_slots))
    return {"OMP_NUM_THREADS": n_threads, "MKL_NUM_THREADS": n_threads}
