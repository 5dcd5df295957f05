"""Whether a study fits the training function."""

from __future__ import annotations

from collections.abc import Sequence

from lethe.ablation.ablation import Ablation
from lethe.ablation.component import Component
from lethe.errors import ConfigError
from lethe.supervised import METRICS, OVERRIDES, Supervised, check_value


def check_ablation(
    train: Supervised, study: Ablation, components: Sequence[Component], validated: bool
) -> None:
    """Hyperparameters that override parts of `train`, and the metric's name.

    components: of the study. validated: whether the dataset has a validation set.

    Raises ConfigError, naming the argument.
    """
    for name in OVERRIDES:
        if name in study.base:
            check_value(f"Ablation: base: {name}", name, study.base[name])
        for component in components:
            if name in component.hparams:
                check_value(f"Ablation: {component.name!r}: {name}", name, component.hparams[name])
    if not validated and train.loss is not None and train.metrics:
        raise ConfigError(
            f"Supervised: metrics {list(train.metrics)} need a validation set; "
            "split the dataset: dataset.split(validation=0.2, seed=1)"
        )
    reported = train.reported(validated)
    if reported is None or study.metric in reported:
        return
    if study.metric in METRICS and not validated:
        remedy = "it needs a validation set: dataset.split(validation=0.2, seed=1)"
    elif study.metric in METRICS:
        remedy = f"add it: Supervised(…, metrics={[*train.metrics, study.metric]})"
    else:
        remedy = f"use one of {', '.join(reported)}"
    raise ConfigError(f"Ablation: no trial reports the metric {study.metric!r}; {remedy}")
