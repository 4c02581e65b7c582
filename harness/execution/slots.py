"""Slots: how many trials train at once, and on what each of them does."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile

from harness.core.errors import UserError

VISIBLE_DEVICES = "CUDA_VISIBLE_DEVICES"
MIG_PREFIX = "MIG-"  # begins the name of a part of a GPU


@dataclass(frozen=True)
class Slot:
    """One worker process.

    Attributes:
        device: as `TrialTask.device`; a worker that is shown one GPU calls it "cuda".
        environment: what its process finds in the environment besides ours.
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
    per_gpu: int | None = None,
    workers: int | None = None,
    visible: Sequence[str] = (),
    threads: int = 1,
) -> tuple[Slot, ...]:
    """One slot on `device`; `workers` slots on the CPU; or `per_gpu` on each of several GPUs.

    The threads of the CPU are divided between slots, at least one each: as many at once as the
    cores bear. One slot alone has all of them.

    Args:
        gpus: "all", or positions among the visible ones, e.g. "0,2". None, with `per_gpu`: all.
        visible: the GPUs that may be used, as CUDA_VISIBLE_DEVICES names them.
        threads: of all workers together.

    Raises:
        UserError: a GPU that is not there, or options that exclude one another.
    """
    if gpus is not None or per_gpu is not None:
        if device not in ("auto", "cuda"):
            raise UserError(f"--device {device} and --gpus or --per-gpu exclude one another")
        if workers is not None:
            raise UserError("--workers are on the CPU: for several on a GPU give --per-gpu")
        chosen_gpus = _select_gpus(gpus or "all", visible)
        n_per_gpu = 1 if per_gpu is None else _check_count("--per-gpu", per_gpu)
        thread_limits = _thread_limits(threads, n_per_gpu * len(chosen_gpus))
        # Trial after trial takes the first free slot: first one on each GPU, then a second.
        return tuple(
            Slot("cuda", {VISIBLE_DEVICES: gpu} | thread_limits)
            for _ in range(n_per_gpu)
            for gpu in chosen_gpus
        )
    if workers is not None:
        if device not in ("auto", "cpu"):
            raise UserError(f"--workers are on the CPU: leave out --device {device}, or --workers")
        n_workers = _check_count("--workers", workers)
        return tuple(Slot("cpu", _thread_limits(threads, n_workers)) for _ in range(n_workers))
    return (Slot(device),)


def visible_gpus(n_gpus: int) -> tuple[str, ...]:
    """The GPUs that workers may use, as CUDA_VISIBLE_DEVICES names them.

    Args:
        n_gpus: so many CUDA shows to this process: as many as there are before the first name that
            it does not know, none where a name is there twice. Of slices (MIG) it shows each
            process one, however many are named; each worker gets one of them.
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
    """What CUDA_VISIBLE_DEVICES calls the GPUs at these positions of itself."""
    if not visible:
        raise UserError(
            f"--gpus {gpus}: there is no GPU here that CUDA can use (see nvidia-smi and "
            f"{VISIBLE_DEVICES}); leave out --gpus and --per-gpu to train on the CPU"
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
        raise UserError(f"--gpus {gpus}: no GPU {invalid[0]!r}; give all, or some of {positions}")
    if len({int(word) for word in words}) < len(words):
        raise UserError(f"--gpus {gpus}: each GPU once; for several workers on it give --per-gpu")
    return [visible[int(word)] for word in words]


def _check_count(option: str, value: int) -> int:
    if not 1 <= value <= 64:
        raise UserError(f"{option} {value}: must be 1 to 64")
    return value


def _thread_limits(threads: int, n_slots: int) -> dict[str, str]:
    """The environment of one of several workers; torch and the libraries under it obey it."""
    if n_slots == 1:
        return {}
    n_threads = str(max(1, threads // n_slots))
    return {"OMP_NUM_THREADS": n_threads, "MKL_NUM_THREADS": n_threads}
