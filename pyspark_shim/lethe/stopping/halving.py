"""Successive halving and what is made of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from lethe import checks
from lethe.space.space import SearchSpace
from lethe.stopping.base import StoppingRule


@dataclass(frozen=True)
class _Halving(StoppingRule):
    #: In messages.
    kind: ClassVar[str]

    reduction: int = 3
    min_epochs: int = 1
    pause: bool = True

    def __post_init__(self) -> None:
        name = type(self).__name__
        checks.whole(f"{name}: reduction", self.reduction, 2)
        checks.whole(f"{name}: min_epochs", self.min_epochs, 1)
        checks.flag(f"{name}: pause", self.pause)

    def message(self, space: SearchSpace) -> dict[str, Any]:
        return {
            "type": self.kind,
            "reduction": self.reduction,
            "min_epochs": self.min_epochs,
            "pause": self.pause,
        }


@dataclass(frozen=True)
class ASHA(_Halving):
    """Asynchronous successive halving (Li et al., "A System for Massively Parallel Hyperparameter Tuning",
    2020). After `min_epochs`, `min_epochs * reduction`, `min_epochs * reduction**2`, … epochs comes a rung,
    and only the best `1/reduction` of a rung get to the next.

    reduction: from 2. Default 3.
    min_epochs: epochs that each trial gets. Default 1.
    pause: True: a trial pauses at a rung, its slot goes on with another, and it continues from its
        checkpoint, on whichever slot is free, once it is among the best. False: it is asked once, when it
        gets there, and ends if it is not among the best of those that have come so far. Default True.
    """

    kind = "asha"


@dataclass(frozen=True)
class Hyperband(_Halving):
    """Several brackets of `ASHA` side by side, which begin at different rungs (Li et al., "Hyperband", 2018):
    for metrics whose first epochs say little.

    reduction, min_epochs, pause: as in `ASHA`, for the bracket that halves first.
    """

    kind = "hyperband"


@dataclass(frozen=True)
class BOHB(_Halving):
    """`Hyperband`, whose trials are suggested by the optimizer "tpe" if the search names none (Falkner et
    al., "BOHB: Robust and Efficient Hyperparameter Optimization at Scale", 2018).

    reduction, min_epochs, pause: as in `Hyperband`.
    """

    kind = "hyperband"
