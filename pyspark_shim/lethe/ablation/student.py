"""Student's t distribution, by Abramowitz and Stegun, "Handbook of Mathematical Functions", 26.7."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

#: From here on the expansion in 1 / degrees is exact to ten digits.
_MANY = 1000
_STEPS = 100


def quantile(confidence: float, degrees: int) -> float:
    """The t for which a t-distributed number of so many degrees of freedom lies within ±t with this
    probability, between 0 and 1."""
    if degrees >= _MANY:
        return _expanded(NormalDist().inv_cdf((1 + confidence) / 2), degrees)
    low, high = 0.0, math.pi / 2
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if _within(middle, degrees) < confidence:
            low = middle
        else:
            high = middle
    return math.sqrt(degrees) * math.tan((low + high) / 2)


def _within(angle: float, degrees: int) -> float:
    """The probability of ±t where t = sqrt(degrees) * tan(angle): 26.7.3 and 26.7.4, exact finite sums."""
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = degrees % 2
    total, term = 0.0, cosine if odd else 1.0
    for power in range(1 + odd, degrees, 2):
        total += term
        term *= cosine * cosine * power / (power + 1)
    return 2 / math.pi * (angle + sine * total) if odd else sine * total


def _expanded(x: float, degrees: int) -> float:
    """26.7.5."""
    terms = (
        (x**3 + x) / 4,
        (5 * x**5 + 16 * x**3 + 3 * x) / 96,
        (3 * x**7 + 19 * x**5 + 17 * x**3 - 15 * x) / 384,
        (79 * x**9 + 776 * x**7 + 1482 * x**5 - 1920 * x**3 - 945 * x) / 92160,
    )
    return x + math.fsum(term / math.pow(degrees, place) for place, term in enumerate(terms, 1))


def interval(values: Sequence[float], confidence: float) -> tuple[float, float]:
    """Of the mean of independent values, low and high; NaN for fewer than two values."""
    count = len(values)
    if count < 2:
        return math.nan, math.nan
    mean = math.fsum(values) / count
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1))
    half = quantile(confidence, count - 1) * deviation / math.sqrt(count)
    return mean - half, mean + half
