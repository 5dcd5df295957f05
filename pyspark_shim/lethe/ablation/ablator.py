"""The user's own lists of components."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lethe.ablation.component import Component
    from lethe.dataset.dataset import Dataset


@dataclass(frozen=True)
class Study:
    """What an ablator is told.

    dataset: of the base; None if it has none. `dataset.features` are the columns that can be left out.
    hparams: of the base.
    components: those that the study has already, of the arguments and of the ablators before.
    """

    dataset: Dataset | None
    hparams: Mapping[str, Any]
    components: tuple[Component, ...]


class Ablator(ABC):
    """A list of components by a rule of your own: `Ablation(…, ablators=[Pairs()])`.

        class Pairs(lethe.Ablator):
            def components(self, study):
                features = [part for part in study.components if part.kind == "feature"]
                return [
                    lethe.Component(f"{one.name} and {other.name}", without=one.without + other.without)
                    for one, other in itertools.combinations(features, 2)
                ]

    It must give the same list each time: a study that is resumed asks again.
    """

    @abstractmethod
    def components(self, study: Study) -> Sequence[Component]:
        """The components that it adds, each under a name of its own."""
