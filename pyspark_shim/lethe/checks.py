"""Checks of arguments. Each raises ConfigError, which names the argument and what it may be."""

from __future__ import annotations

import math
from typing import Any

from lethe.errors import ConfigError


def whole(what: str, value: Any, least: int, below: int = 2**32) -> None:
    """A whole number from `least`, below `below`."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value < below:
        raise ConfigError(f"{what} must be a whole number from {least}, below {below}, not {value!r}")


def real(what: str, value: Any) -> None:
    """A finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ConfigError(f"{what} must be a number, not {value!r}")


def above(what: str, value: Any, bound: float = 0.0) -> None:
    real(what, value)
    if value <= bound:
        raise ConfigError(f"{what} must be above {bound:g}, not {value!r}")


def share(what: str, value: Any, highest: float = 1.0) -> None:
    """A number from 0 to `highest`."""
    real(what, value)
    if not 0 <= value <= highest:
        raise ConfigError(f"{what} must be between 0 and {highest:g}, not {value!r}")


def flag(what: str, value: Any) -> None:
    if not isinstance(value, bool):
        raise ConfigError(f"{what} must be True or False, not {value!r}")


def seconds(what: str, value: Any) -> None:
    """A number from 0."""
    real(what, value)
    if value < 0:
        raise ConfigError(f"{what} must be a number of seconds from 0, not {value!r}")
