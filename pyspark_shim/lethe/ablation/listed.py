"""`Listed`: one trial of a study."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lethe.ablation.component import BASE, Component
from lethe.errors import ConfigError

if TYPE_CHECKING:
    from lethe.dataset.dataset import Dataset


@dataclass(frozen=True)
class Listed:
    """number: of the trial, from 0; trial 0 is the base.
    component: what is left out; None: nothing, the base.
    replicate: which repetition, from 0. It is also the number that the trial's seed is made of
        (`trial_seed(seed, replicate)`): trials of one replicate begin with the same random state.
    hparams: all of the trial's.
    without: columns that are left out of the features of `dataset`.
    dataset: the component's own, else the study's; None if there is none.
    model: the component's own generator; None: the training function's.
    layers: modules that are left out of what the generator makes; see `lethe.ablation.layered`.
    """

    number: int
    component: Component | None
    replicate: int
    hparams: dict[str, Any]
    without: tuple[str, ...]
    dataset: Dataset | None
    model: Callable[..., Any] | None
    layers: tuple[str, ...]

    @property
    def name(self) -> str:
        """The component's, or "base"."""
        return BASE if self.component is None else self.component.name

    def generator(self, model: Callable[..., Any] | None) -> Callable[..., Any]:
        """The trial's model generator; `model` is the training function's, if it has one.

        Raises ConfigError if there is none.
        """
        from lethe.ablation.layered import layered

        own = self.model or model
        if own is None:
            raise ConfigError(
                f"{self.name} needs the model's generator; give it: lethe.Function(train, model=make_model)"
            )
        return layered(own, self.layers) if self.layers else own
