"""Whom a search's argument `optimizer` means."""

from __future__ import annotations

from typing import Any

from lethe import checks
from lethe.errors import ConfigError
from lethe.optimizers.ask_tell import Optimizer
from lethe.optimizers.native import NAMES, TPE, Native, Random
from lethe.stopping.base import StoppingRule
from lethe.stopping.halving import BOHB


def optimizer(given: Any, stopping: StoppingRule | None) -> Native | Optimizer:
    """The optimizer that is given by name or as an object, or left to the stopping rule.

    Raises ConfigError if it is none.
    """
    if given is None:
        return TPE() if isinstance(stopping, BOHB) else Random()
    if isinstance(given, str) and given in NAMES:
        return NAMES[given]()
    if isinstance(given, Native):
        return given
    if isinstance(given, Optimizer):
        if given.allow_ahead is not None:
            checks.whole(f"{type(given).__name__}: allow_ahead", given.allow_ahead, 0)
        return given
    remedy = ""
    if isinstance(given, type) and issubclass(given, Native | Optimizer):
        remedy = f"; make one: {given.__name__}()"
    elif type(given).__module__.split(".")[0] == "optuna":
        remedy = "; write lethe.optuna(…) around Optuna's sampler"
    raise ConfigError(
        f"Search: optimizer must be one of {', '.join(NAMES)}, or an object such as lethe.TPE() or a "
        f"lethe.Optimizer, not {given!r}{remedy}"
    )


def message(chosen: Native | Optimizer, slots: int) -> dict[str, Any]:
    """The message `Optimizer` for an experiment of so many slots."""
    if isinstance(chosen, Native):
        return chosen.message()
    ahead = slots if chosen.allow_ahead is None else chosen.allow_ahead
    return {"type": "external", "name": chosen.name, "ahead": ahead}
