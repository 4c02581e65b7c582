import pytest

from harness.execution.cluster.checkpoint_budget import (
    budget_line,
    checkpoint_interval_s,
    is_checkpoint_due,
    updated_rate,
)


@pytest.mark.parametrize(
    ("size", "n_workers", "rate", "seconds"),
    [
        (390e6, 4, 100e6, 156.0),  # 4 * 390 MB / (10 MB/s)
        (390e6, 1, 100e6, 39.0),
        (390e6, 8, 1e9, 31.2),
        (0, 4, 1e6, 0.0),
    ],
)
def test_interval_keeps_all_workers_within_a_tenth_of_the_link(
    size: float, n_workers: int, rate: float, seconds: float
) -> None:
    interval = checkpoint_interval_s(int(size), n_workers, rate)
    assert interval == pytest.approx(seconds)
    if interval:
        assert n_workers * size / interval == pytest.approx(rate / 10)


def test_first_checkpoint_is_always_due() -> None:
    assert is_checkpoint_due(None, 1000.0)
    assert is_checkpoint_due(1.0, None), "the link is not measured yet"


@pytest.mark.parametrize(("elapsed", "due"), [(9.9, False), (10.0, True), (11.0, True)])
def test_checkpoint_waits_for_its_interval(elapsed: float, due: bool) -> None:
    assert is_checkpoint_due(elapsed, 10.0) is due
    assert is_checkpoint_due(elapsed, 10.0, every_epoch=True)


def test_rate_is_smoothed_and_small_transfers_do_not_count() -> None:
    rate = updated_rate(None, 1_000_000, 0.1)
    assert rate == pytest.approx(1e7)
    assert updated_rate(rate, 1000, 0.5) == rate, "its time is latency"
    assert updated_rate(rate, 1_000_000, 0.0) == rate
    assert updated_rate(rate, 2_000_000, 0.1) == pytest.approx(1.5e7)


def test_budget_is_said_in_one_line() -> None:
    line = budget_line(390_000_000, 4, 100e6, every_epoch=False)
    assert line == (
        "checkpoints of 390 MB from 4 workers over 100 MB/s: one is sent every 156 s (a tenth of "
        "the link); a dead node costs at most that much of its trial"
    )
    assert budget_line(2_500_000, 1, 1e6, every_epoch=True) == (
        "checkpoints of 2.5 MB from 1 worker over 1.0 MB/s: each is sent, as train.checkpoint_s "
        "is 0"
    )
