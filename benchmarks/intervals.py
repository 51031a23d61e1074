"""Confidence intervals of shares."""

from scipy.stats import binomtest


def wilson(hits: int, count: int) -> tuple[float, float]:
    """The 95% interval of a share of `hits` in `count` (Wilson 1927)."""
    if not count:
        return 0.0, 1.0
    low, high = binomtest(hits, count).proportion_ci(method="wilson")
    return round(float(low), 3), round(float(high), 3)
