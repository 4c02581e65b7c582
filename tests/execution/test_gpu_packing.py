import pytest

from harness.execution.gpu_packing import (
    MAX_PER_GPU,
    PackingLimits,
    max_trials_per_gpu,
    trials_that_fit,
)


@pytest.mark.parametrize(
    ("threads", "n_gpus", "most"),
    [(16, 1, 8), (16, 2, 4), (16, 8, 1), (3, 1, 1), (1, 4, 1), (256, 2, MAX_PER_GPU)],
)
def test_each_trial_has_two_threads_of_the_cpu(threads: int, n_gpus: int, most: int) -> None:
    assert max_trials_per_gpu(threads, n_gpus) == most


def test_nothing_measured_means_one_trial() -> None:
    assert trials_that_fit([], PackingLimits(80_000, 8)) == 1


@pytest.mark.parametrize(
    ("peaks", "free", "most", "n"),
    [
        ([2000], 16_000, 8, 4),  # 14.4 GB of 16 and 2.5 + 0.8 GB each: 4.4
        ([2000, 6000, 100], 16_000, 8, 1),  # the largest: 8.3 GB each
        ([2000], 16_000, 3, 3),  # the cores decide
        ([16_000], 16_000, 8, 1),  # it trained alone, with micro-batches if need be
        ([10], 0, 8, 1),
        ([1], 1e6, 8, 8),
    ],
)
def test_as_many_as_fit_by_the_largest_peak(
    peaks: list[float], free: float, most: int, n: int
) -> None:
    assert trials_that_fit(peaks, PackingLimits(free, most)) == n


def test_what_fits_never_needs_more_than_is_free() -> None:
    """For every answer above 1 the peaks, and half a gigabyte for each process, are in memory."""
    for peak in range(50, 20_000, 317):
        for free in range(500, 90_000, 1777):
            n = trials_that_fit([peak], PackingLimits(free, MAX_PER_GPU))
            assert n == 1 or n * (peak + 500) < 0.9 * free
