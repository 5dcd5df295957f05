"""Maggy's pruner."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from lethe import checks
from lethe.errors import ConfigError
from lethe.stopping import halving
from lethe.stopping.base import StoppingRule


class Hyperband:
    """Several brackets of successive halving: `RandomSearch(pruner="hyperband", pruner_kwargs={…})`.

    min_budget: epochs (broadcasts) up to the first rung of the bracket that halves first. max_budget: of a
        whole trial, which has it as `hparams["budget"]`.
    eta: of the trials of a rung one in so many gets to the next; from 2.
    n_iterations: brackets; with the others it gives the number of trials.
    """

    def __init__(self, min_budget: int, max_budget: int, eta: int, n_iterations: int) -> None:
        checks.whole("Hyperband: min_budget", min_budget, 1)
        checks.whole("Hyperband: max_budget", max_budget, 1)
        checks.whole("Hyperband: eta", eta, 2)
        checks.whole("Hyperband: n_iterations", n_iterations, 1)
        if min_budget >= max_budget:
            raise ConfigError(
                f"Hyperband: max_budget must be above min_budget, {min_budget}, not {max_budget}"
            )
        self.min_budget, self.max_budget, self.eta, self.n_iterations = (
            min_budget,
            max_budget,
            eta,
            n_iterations,
        )

    def stopping(self, pause: bool) -> StoppingRule:
        return halving.Hyperband(self.eta, self.min_budget, pause)

    def configurations(self) -> int:
        """Points that are tried. Maggy's `num_trials` counts one again each time that it restarts it with a
        larger budget."""
        rungs = 1
        while self.min_budget * self.eta**rungs <= self.max_budget:
            rungs += 1
        left = [rungs - 1 - iteration % rungs for iteration in range(self.n_iterations)]
        return sum(math.floor(rungs / (halvings + 1)) * self.eta**halvings for halvings in left)


def pruner_of(given: Any, arguments: Mapping[str, Any] | None) -> Hyperband | None:
    if given is None or isinstance(given, Hyperband):
        return given
    if given != "hyperband":
        raise ConfigError(f'pruner must be "hyperband" or a Hyperband(…), not {given!r}')
    try:
        return Hyperband(**(arguments or {}))
    except TypeError:
        raise ConfigError(
            "pruner_kwargs of hyperband are min_budget, max_budget, eta and n_iterations, not "
            f"{', '.join(arguments or {}) or 'nothing'}"
        ) from None


__all__ = ["Hyperband"]
