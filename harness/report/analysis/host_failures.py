"""Caveat about a node of a cluster on which trials fail more often than on the others."""

from collections import Counter
from math import comb

from harness.core.records import TrialRecord
from harness.report.tables.study_tables import StudyTables

SIGNIFICANCE_LEVEL = 0.05
# Causes that come from the configuration or the images, so that they say nothing of a node.
_CONFIGURATION_CAUSES = ("bad_configuration", "bad_data", "diverged", "out_of_memory")


def host_failures_caveat(tables: StudyTables) -> str | None:
    """Caveat if trials fail on one host more often than elsewhere.

    Test: one-sided exact test of Fisher for each host, p < 0.05 divided by the number of hosts.
    """
    trained = [record for record in tables.records if record.host and record.state != "running"]
    n_by_host = Counter(record.host for record in trained)
    failed = Counter(record.host for record in trained if _is_failure(record))
    n_failed = failed.total()
    if len(n_by_host) < 2 or not failed:
        return None
    p_by_host = {
        host: fisher_p(failed[host], n_by_host[host], n_failed, len(trained)) for host in failed
    }
    host = min(p_by_host, key=lambda name: (p_by_host[name], str(name)))
    if p_by_host[host] >= SIGNIFICANCE_LEVEL / len(n_by_host):
        return None
    n_elsewhere = len(trained) - n_by_host[host]
    return (
        f"Trials fail on {host} more often than elsewhere: {failed[host]} of {n_by_host[host]} "
        f"there, {n_failed - failed[host]} of {n_elsewhere} on the other nodes (exact test of "
        f"Fisher, p = {p_by_host[host]:.2g}). Check the memory, disk and driver of that node."
    )


def fisher_p(hits: int, drawn: int, marked: int, total: int) -> float:
    """Probability of at least `hits` marked ones among `drawn` of `total`, of which `marked` are.

    Source: Fisher 1935, the exact test of a 2 x 2 table, one-sided.
    """
    most = min(drawn, marked)
    ways = sum(comb(marked, k) * comb(total - marked, drawn - k) for k in range(hits, most + 1))
    return ways / comb(total, drawn)


def _is_failure(record: TrialRecord) -> bool:
    cause = None if record.failure is None else record.failure.cause
    return record.state == "failed" and cause not in _CONFIGURATION_CAUSES
