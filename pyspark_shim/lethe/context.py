"""Where a function runs, for those who log it. Nothing else of a function may depend on it."""

from __future__ import annotations

_rank, _world = 0, 1


def rank() -> int:
    """Of this worker among those of its trial, from 0."""
    return _rank


def world() -> int:
    """How many workers the trial has."""
    return _world


def enter(rank: int, world: int) -> None:
    """Called by the worker before each trial."""
    global _rank, _world
    _rank, _world = rank, world
