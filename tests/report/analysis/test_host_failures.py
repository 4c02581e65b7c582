"""A node on which trials fail more often than elsewhere, and the exact test behind it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from scipy.stats import fisher_exact

from harness.core.records import TrialFailure, TrialRecord
from harness.report.analysis.host_failures import fisher_p, host_failures_caveat


def tables(*counts: tuple[str | None, int, int, str]) -> Any:
    """Records by (host, failed, complete, cause)."""
    records = []
    for host, failed, complete, cause in counts:
        for index in range(failed + complete):
            is_failed = index < failed
            record = TrialRecord(
                study="s",
                number=len(records),
                state="failed" if is_failed else "complete",
                params={},
                distributions={},
                epochs=1,
                seed=0,
                host=host,
                failure=TrialFailure(cause=cause, message="m") if is_failed else None,
            )
            records.append(record)
    return SimpleNamespace(records=records, paths=Path())


@pytest.mark.parametrize("table", [(5, 6, 6, 26), (0, 3, 2, 9), (2, 2, 2, 4), (1, 7, 9, 40)])
def test_p_value_is_that_of_scipy(table: tuple[int, int, int, int]) -> None:
    hits, drawn, marked, total = table
    rest = [[hits, drawn - hits], [marked - hits, total - drawn - marked + hits]]
    expected = fisher_exact(rest, alternative="greater").pvalue
    assert fisher_p(*table) == pytest.approx(expected, rel=1e-9)


def test_bad_node_is_named_with_its_counts() -> None:
    sentence = host_failures_caveat(tables(("a", 5, 1, "crashed"), ("b", 1, 19, "crashed")))
    assert sentence is not None and sentence.startswith(
        "Trials fail on a more often than elsewhere: 5 of 6 there, 1 of 20 on the other nodes"
    )


@pytest.mark.parametrize(
    "counts",
    [
        [("a", 5, 1, "crashed")],
        [("a", 2, 2, "crashed"), ("b", 1, 3, "crashed")],
        [("a", 5, 1, "diverged"), ("b", 1, 19, "crashed")],
        [(None, 5, 1, "crashed"), ("b", 0, 20, "crashed")],
    ],
    ids=["one node", "chance", "configuration", "this machine"],
)
def test_nothing_is_said_without_evidence(counts: list[Any]) -> None:
    assert host_failures_caveat(tables(*counts)) is None
