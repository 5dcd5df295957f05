"""Rules that look at one trial's curve, or compare it epoch by epoch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lethe import checks
from lethe.space.space import SearchSpace
from lethe.stopping.base import StoppingRule


@dataclass(frozen=True)
class Median(StoppingRule):
    """A trial ends whose best value so far is worse than the median, over the trials that have ended, of
    their averages up to the same epoch (Golovin et al., "Google Vizier", 2017).

    min_trials: trials that have ended before any is compared. Default 5.
    min_epochs: epochs that each trial gets. Default 1.
    """

    min_trials: int = 5
    min_epochs: int = 1

    def __post_init__(self) -> None:
        checks.whole("Median: min_trials", self.min_trials, 1)
        checks.whole("Median: min_epochs", self.min_epochs, 1)

    def message(self, space: SearchSpace) -> dict[str, Any]:
        return {"type": "median", "min_trials": self.min_trials, "min_epochs": self.min_epochs}


@dataclass(frozen=True)
class Threshold(StoppingRule):
    """A trial ends that is worse than `bound` after `min_epochs` epochs or later.

    bound: in the metric's own unit: a lower bound where it is maximised, an upper where it is minimised.
    min_epochs: Default 1.
    """

    bound: float
    min_epochs: int = 1

    def __post_init__(self) -> None:
        checks.real("Threshold: bound", self.bound)
        checks.whole("Threshold: min_epochs", self.min_epochs, 1)

    def message(self, space: SearchSpace) -> dict[str, Any]:
        return {"type": "threshold", "bound": float(self.bound), "min_epochs": self.min_epochs}


@dataclass(frozen=True)
class Patience(StoppingRule):
    """A trial ends that has not become better by more than `min_delta` for `epochs` epochs.

    epochs: from 1.
    min_delta: in the metric's own unit, from 0. Default 0.
    """

    epochs: int
    min_delta: float = 0.0

    def __post_init__(self) -> None:
        checks.whole("Patience: epochs", self.epochs, 1)
        checks.share("Patience: min_delta", self.min_delta, float("inf"))

    def message(self, space: SearchSpace) -> dict[str, Any]:
        return {"type": "patience", "epochs": self.epochs, "min_delta": float(self.min_delta)}
