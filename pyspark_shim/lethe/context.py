"""Where a function runs, for those who log it. Nothing else of a function may depend on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

Model = TypeVar("Model")

_rank, _world = 0, 1


def _alone(model: Any) -> Any:
    return model


_together: Callable[[Any], Any] = _alone


def rank() -> int:
    """Of this worker among those of its trial, from 0."""
    return _rank


def world() -> int:
    """How many workers the trial has."""
    return _world


def parallel(model: Model) -> Model:
    """The model, trained together by all workers of the trial: for a function that makes a module of PyTorch
    or Keras itself, before it trains it. What a generator has made (the argument `model`) is so already. With
    one worker, and outside of a trial, nothing happens."""
    found: Model = _together(model)
    return found


def enter(rank: int, world: int, together: Callable[[Any], Any] = _alone) -> None:
    """Called by the worker before each trial."""
    global _rank, _world, _together
    _rank, _world, _together = rank, world, together
