"""Whether a study's hyperparameters fit the training function."""

from __future__ import annotations

from collections.abc import Sequence

from lethe.ablation.ablation import Ablation
from lethe.ablation.component import Component
from lethe.supervised import OVERRIDES, check_value


def check_ablation(study: Ablation, components: Sequence[Component]) -> None:
    """Hyperparameters that override parts of `Supervised`; the rest is `lethe.supervised.check_experiment`'s.

    components: of the study.

    Raises ConfigError, naming the argument.
    """
    for name in OVERRIDES:
        if name in study.base:
            check_value(f"Ablation: base: {name}", name, study.base[name])
        for component in components:
            if name in component.hparams:
                check_value(f"Ablation: {component.name!r}: {name}", name, component.hparams[name])
