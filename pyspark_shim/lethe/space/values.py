"""Plain values: what of a hyperparameter travels as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, final


@final
class Missing:
    """Stands for a default that was not given: None may be a value."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = Missing()


def plain(value: Any) -> Any:
    """NumPy's scalars as Python's, tuples as lists: as the value will reach the model generator."""
    item = getattr(value, "item", None)
    if callable(item) and getattr(value, "shape", None) == ():
        return item()
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return value


def number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def finite(value: float) -> bool:
    """As a number of 64 bits: a whole number of Python's may be larger than any."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def key(value: Any) -> float | str | None:
    """Equal for values that are the same as JSON, or as numbers: 2 is 2.0, but 1 is not True. None for what
    has no JSON."""
    try:
        text = json.dumps(value, allow_nan=False, sort_keys=True)
    except (TypeError, ValueError):
        return None
    return value if number(value) else text


def same(one: Any, other: Any) -> bool:
    found = key(one)
    return found is not None and found == key(other)


def listed(values: Any) -> list[Any]:
    """A list of values as it is, a single value as a list of it."""
    if isinstance(values, Sequence) and not isinstance(values, str):
        return [plain(value) for value in values]
    if isinstance(values, set | frozenset | Mapping):
        raise TypeError("not a value or a list of values")
    return [plain(values)]
