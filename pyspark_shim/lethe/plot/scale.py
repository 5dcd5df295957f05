"""The axis of one hyperparameter: from its domain, or where trials were listed from their values."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Scale:
    """low, high: of numbers. log: whether these are placed by their logarithm. levels: of categories, the
    values as text, in their order; empty for numbers. whole: whether there are whole numbers only."""

    low: float = 0.0
    high: float = 1.0
    log: bool = False
    whole: bool = False
    levels: dict[str, int] = field(default_factory=dict)

    def place(self, value: Any) -> float:
        """From 0 to 1."""
        if self.levels:
            return self.levels[text(value)] / max(1, len(self.levels) - 1) if len(self.levels) > 1 else 0.5
        low, high, at = (math.log(x) if self.log else x for x in (self.low, self.high, float(value)))
        return (at - low) / (high - low) if high > low else 0.5

    def at(self, place: float) -> float:
        """The number that has this place; of categories, its number."""
        if self.levels:
            return place * (len(self.levels) - 1) if len(self.levels) > 1 else place - 0.5
        if self.high == self.low:
            return self.low + (place - 0.5) * (abs(self.low) or 1.0) * (0.9 if self.log else 1.0)
        if self.log:
            return float(math.exp(math.log(self.low) + place * math.log(self.high / self.low)))
        return self.low + place * (self.high - self.low)


def scale(domain: dict[str, Any] | None, values: Iterable[Any]) -> Scale:
    """domain: the message `Domain`; None where there is none. values: that there were, at least one if there
    is no domain. Values outside of the domain widen it."""
    found = list(values)
    domain = domain or {}
    numbers = [value for value in found if isinstance(value, int | float) and not isinstance(value, bool)]
    if "values" in domain or len(numbers) < len(found):
        listed = [*domain.get("values", ()), *_sorted(found)]
        return Scale(levels={name: place for place, name in enumerate(dict.fromkeys(map(text, listed)))})
    ends = [*numbers, *(domain[end] for end in ("low", "high") if end in domain)]
    low, high = float(min(ends)), float(max(ends))
    log = domain.get("log", False) or domain.get("type") == "log_uniform"
    whole = all(isinstance(value, int) for value in ends)
    return Scale(low, high, bool(log and low > 0), whole)


def text(value: Any) -> str:
    """Of a category."""
    return value if isinstance(value, str) else json.dumps(value)


def _sorted(values: list[Any]) -> list[Any]:
    return sorted(values, key=lambda value: (not isinstance(value, bool | int | float), text(value)))
