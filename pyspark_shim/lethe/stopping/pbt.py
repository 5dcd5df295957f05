"""Population based training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lethe import checks
from lethe.errors import ConfigError
from lethe.space.space import SearchSpace
from lethe.stopping.base import StoppingRule


@dataclass(frozen=True)
class PBT(StoppingRule):
    """Population based training (Jaderberg et al., "Population Based Training of Neural Networks", 2017).
    The search's trials are the population. Every `every` epochs each pauses; the worst `quantile` go on from
    the checkpoints of trials among the best `quantile`, with changed hyperparameters. A result's
    hyperparameters are then those with which the trial ended.

    every: epochs, from 1.
    quantile: above 0, at most 0.5. Default 0.25.
    resample: the probability with which a parameter is drawn anew; else it is multiplied by 0.8 or 1.2.
        From 0 to 1. Default 0.25.
    parameters: which are changed. They must not change the shapes of the model's weights, and none may
        decide whether another exists. Default: all of the space that are continuous (`uniform`,
        `loguniform`) and decide nothing.
    """

    every: int
    quantile: float = 0.25
    resample: float = 0.25
    parameters: Sequence[str] | None = None

    def __post_init__(self) -> None:
        checks.whole("PBT: every", self.every, 1)
        checks.above("PBT: quantile", self.quantile)
        checks.share("PBT: quantile", self.quantile, 0.5)
        checks.share("PBT: resample", self.resample)
        if isinstance(self.parameters, str):
            raise ConfigError(f"PBT: parameters must be a list; write parameters=[{self.parameters!r}]")

    def message(self, space: SearchSpace) -> dict[str, Any]:
        return {
            "type": "pbt",
            "every": self.every,
            "quantile": float(self.quantile),
            "resample": float(self.resample),
            "parameters": self._changed(space),
        }

    def _changed(self, space: SearchSpace) -> list[str]:
        if self.parameters is None:
            parents = {domain.condition.parent for domain in space.values() if domain.condition is not None}
            found = [name for name, domain in space.items() if domain.continuous and name not in parents]
            if not found:
                raise ConfigError(
                    "PBT: the space has no continuous parameter to change, or others depend on it; name "
                    "others: PBT(…, parameters=[…])"
                )
            return found
        for name in self.parameters:
            if name not in space:
                raise ConfigError(
                    f"PBT: parameters names {name!r}, which the space has not; it has {', '.join(space)}"
                )
        if not self.parameters:
            raise ConfigError("PBT: parameters is empty; name at least one, or leave it out")
        return list(dict.fromkeys(self.parameters))
