"""Maggy's optimizers, as objects: what Lethe has in their place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lethe import checks
from lethe.errors import ConfigError
from lethe.maggy.pruner import Hyperband, pruner_of
from lethe.optimizers.native import Grid, Native, Random
from lethe.stopping.base import StoppingRule
from lethe.stopping.halving import ASHA


class AbstractOptimizer:
    """What these have in common.

    pruner: "hyperband"; pruner_kwargs: its arguments, see `lethe.maggy.pruner.Hyperband`.
    """

    def __init__(
        self, pruner: str | Hyperband | None = None, pruner_kwargs: Mapping[str, Any] | None = None
    ) -> None:
        self.pruner = pruner_of(pruner, pruner_kwargs)

    def suggests(self) -> Native:
        """Lethe's optimizer."""
        raise ConfigError(
            f"{type(self).__name__}: an optimizer of your own is a lethe.Optimizer, with ask(trial) in place "
            "of get_suggestion, and tell(trial); give an object of it as optimizer="
        )

    def stopping(self, pause: bool) -> StoppingRule | None:
        """The rule that it brings; None leaves that to the search's `es_policy`. pause: trials can be."""
        return None if self.pruner is None else self.pruner.stopping(pause)

    @property
    def budget(self) -> int | None:
        """The most epochs that a trial gets, where it says so."""
        return None if self.pruner is None else self.pruner.max_budget

    def ignored(self) -> list[str]:
        """Settings that Lethe has nothing for."""
        return []

    def name(self) -> str:
        return type(self).__name__


class RandomSearch(AbstractOptimizer):
    def suggests(self) -> Native:
        return Random()


class GridSearch(AbstractOptimizer):
    """Every combination once. A DOUBLE, which Maggy refuses here, has five values, its bounds among them."""

    def suggests(self) -> Native:
        return Grid()


class Asha(AbstractOptimizer):
    """Random search with asynchronous successive halving.

    reduction_factor: of the trials of a rung one in so many gets to the next; from 2.
    resource_min: epochs (broadcasts) up to the first rung. resource_max: of a whole trial, which has it as
        `hparams["budget"]`.
    """

    def __init__(self, reduction_factor: int = 2, resource_min: int = 1, resource_max: int = 4) -> None:
        super().__init__()
        checks.whole("Asha: reduction_factor", reduction_factor, 2)
        checks.whole("Asha: resource_min", resource_min, 1)
        checks.whole("Asha: resource_max", resource_max, 1)
        if resource_min >= resource_max:
            raise ConfigError(
                f"Asha: resource_max must be above resource_min, {resource_min}, not {resource_max}"
            )
        self.reduction_factor, self.resource_min, self.resource_max = (
            reduction_factor,
            resource_min,
            resource_max,
        )

    def suggests(self) -> Native:
        return Random()

    def stopping(self, pause: bool) -> StoppingRule:
        return ASHA(self.reduction_factor, self.resource_min, pause)

    @property
    def budget(self) -> int:
        return self.resource_max


class SingleRun(AbstractOptimizer):
    """Trials without hyperparameters: the same function, so many times."""


__all__ = ["AbstractOptimizer", "Asha", "GridSearch", "RandomSearch", "SingleRun"]
