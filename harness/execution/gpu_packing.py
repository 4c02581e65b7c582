"""Number of trials that train together on one GPU, decided from measured memory.

Never run on a GPU yet.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

PerGpu = int | Literal["auto"]

MAX_PER_GPU: Final = 8  # of --per-gpu auto: more trials compute in turns
MIN_CPU_THREADS: Final = 2  # of each trial: it makes its batches on them
MAX_FREE_SHARE: Final = 0.9  # of the memory that was free before the study
# A process holds more than its tensors' peak: blocks of torch's allocator that are not in use, and
# the CUDA context with the code of cuDNN. Both are estimates for the safe side.
ALLOCATOR_FACTOR: Final = 1.25
CONTEXT_MB: Final = 800.0


@dataclass(frozen=True)
class PackingLimits:
    """Limits of the number of trials on each GPU.

    Attributes:
        free_mb: memory in 10^6 bytes that was free before the study, on the fullest GPU.
        max_per_gpu: workers that may be started on each GPU.
    """

    free_mb: float
    max_per_gpu: int


def max_trials_per_gpu(threads: int, n_gpus: int) -> int:
    """Largest number of trials on each GPU for which the CPU has threads; at least 1."""
    return max(1, min(MAX_PER_GPU, threads // (MIN_CPU_THREADS * n_gpus)))


def trials_that_fit(peaks_mb: Sequence[float], limits: PackingLimits) -> int:
    """Number of trials that fit on a GPU if each is as large as the largest one so far.

    Args:
        peaks_mb: peak memory of the tensors of earlier trials, `cost/peak_mb`; none: 1 trial.
    """
    if not peaks_mb:
        return 1
    trial_mb = ALLOCATOR_FACTOR * max(peaks_mb) + CONTEXT_MB
    return max(1, min(limits.max_per_gpu, int(MAX_FREE_SHARE * limits.free_mb / trial_mb)))
