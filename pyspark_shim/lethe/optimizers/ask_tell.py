"""The user's own optimizer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lethe.search import Search


@dataclass(frozen=True)
class Trial:
    """A trial that has ended, as an optimizer is told of it.

    number: from 0.
    hparams: with which it ended.
    state: "finished", "stopped" (by the stopping rule), "failed" (by its own code) or "cancelled".
    values: one for each of the search's metrics, in their order, by its `select`; NaN where it is no number;
        empty if the trial has reported nothing.
    history: the metrics of each epoch, by its number from 1.
    """

    number: int
    hparams: dict[str, Any]
    state: str
    values: tuple[float, ...] = ()
    history: Mapping[int, dict[str, float]] = field(default_factory=dict)


class Optimizer(ABC):
    """A user's own optimizer: `Search(…, optimizer=MyOptimizer())`.

        class Coin(lethe.Optimizer):
            def ask(self, trial):
                return {"width": random.choice([32, 64])}

    Its methods are called one at a time, on a thread of their own: a slow one delays no running trial. Draw
    from a generator of your own (`random.Random(seed)`): the global ones are set while a model is generated.
    What one of them raises ends the search. A resumed search makes it learn again by `tell` what was before.
    """

    #: How many trials are asked for before they are needed; each then knows less. None: as many as there are
    #: slots. 0: never before a slot is free.
    allow_ahead: int | None = None

    def begin(self, search: Search) -> None:
        """Called once, before all else: `search.space` and `search.objectives` say what is searched. Does
        nothing unless it is overridden."""
        return

    @abstractmethod
    def ask(self, trial: int) -> Mapping[str, Any] | None:
        """The hyperparameters of the trial of this number; a parameter with a default may be left out. None:
        there is no further point, and the search ends with the trials that it has.

        It may be called again for the same trial, if a constraint refused the answer.
        """

    def tell(self, trial: Trial) -> None:
        """What came of a trial, of those too that `ask` did not suggest (`enqueue`, or before a resume). Does
        nothing unless it is overridden."""
        return

    @property
    def name(self) -> str:
        """By which the journal knows it; a search is resumed with the optimizer of the same name only."""
        return f"{type(self).__module__}.{type(self).__qualname__}"
