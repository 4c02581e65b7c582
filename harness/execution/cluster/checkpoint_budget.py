"""Budget of the bytes of checkpoints: how often a trial's checkpoint crosses the link.

Checkpoints are nearly all that a cluster without a shared disk sends: three copies of the weights
and more after each `train.checkpoint_s`, from every worker. All workers together may use a tenth of
the measured link for them; the rest stays for events, images and other users.
"""

from harness.core.text import count

LINK_SHARE = 0.1
_SMOOTHING = 0.5  # weight of the newest measurement of the link
MIN_MEASURED_BYTES = 64 * 1024  # the time of a smaller transfer is latency


def checkpoint_interval_s(
    size: int, n_workers: int, link_bytes_per_s: float, share: float = LINK_SHARE
) -> float:
    """Seconds between two checkpoints of one trial.

    Args:
        size: of a checkpoint, in bytes.
        n_workers: workers that send checkpoints over the same link.
        link_bytes_per_s: measured rate of one transfer.
        share: of the link that all checkpoints together may use, in (0, 1].

    Example:
        390 MB from 4 workers over 100 MB/s: 4 * 390 / (0.1 * 100) = 156 s.
    """
    return n_workers * size / (share * link_bytes_per_s)


def is_checkpoint_due(
    elapsed_s: float | None, interval_s: float | None, *, every_epoch: bool = False
) -> bool:
    """True if a checkpoint may be sent now, though the trial continues.

    Args:
        elapsed_s: since the last one was sent; None: none was sent yet.
        interval_s: from `checkpoint_interval_s`; None: the link has not been measured yet.
        every_epoch: `train.checkpoint_s` is 0, so that no reported epoch may be lost. The user has
            said what a lost epoch is worth, and the budget does not overrule it.
    """
    return every_epoch or elapsed_s is None or interval_s is None or elapsed_s >= interval_s


def updated_rate(rate: float | None, n_bytes: int, seconds: float) -> float | None:
    """Rate of the link in bytes per second after one more transfer.

    Args:
        rate: before; None: not measured yet.
    """
    if n_bytes < MIN_MEASURED_BYTES or seconds <= 0:
        return rate
    newest = n_bytes / seconds
    return newest if rate is None else _SMOOTHING * newest + (1 - _SMOOTHING) * rate


def budget_line(size: int, n_workers: int, link_bytes_per_s: float, *, every_epoch: bool) -> str:
    """Describe the budget to the user, in one line."""
    workers = count(n_workers, "worker")
    facts = f"checkpoints of {_mb(size)} from {workers} over {_mb(link_bytes_per_s)}/s"
    if every_epoch:
        return f"{facts}: each is sent, as train.checkpoint_s is 0"
    interval_s = checkpoint_interval_s(size, n_workers, link_bytes_per_s)
    return (
        f"{facts}: one is sent every {_seconds(interval_s)} (a tenth of the link); a dead node "
        "costs at most that much of its trial"
    )


def _mb(n_bytes: float) -> str:
    return f"{n_bytes / 1e6:.{0 if n_bytes >= 1e7 else 1}f} MB"


def _seconds(seconds: float) -> str:
    return f"{seconds:.{0 if seconds >= 10 else 1}f} s"
