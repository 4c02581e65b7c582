"""How far values of equal configurations lie apart by chance."""

from scipy import stats


def studentized_range_p(span: float, deviation: float, freedom: int, n: int) -> float:
    """The chance that the largest and smallest of n equal configurations differ by `span` or more.

    Args:
        span: largest minus smallest value.
        deviation: standard deviation of one value over seeds, above 0.
        freedom: degrees of freedom of that estimate.
        n: configurations with one value each, 2 or more.

    Source:
        Tukey's studentised range; scipy.stats.studentized_range.
    """
    # beyond these the chance does not change, or its integral does not converge
    q, max_n = min(span / deviation, 1e3), 1000
    return float(stats.studentized_range.sf(q, min(n, max_n), freedom))
