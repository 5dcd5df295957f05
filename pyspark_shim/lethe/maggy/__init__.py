"""Maggy 1.1's vocabulary, for programs that were written for it:

    from lethe.maggy import experiment, Searchspace
    from lethe.maggy.config import HyperparameterOptConfig

    space = Searchspace(lr=("DOUBLE", [0.001, 0.1]), units=("INTEGER", [8, 64]))
    config = HyperparameterOptConfig(num_trials=20, optimizer="tpe", searchspace=space, direction="max")
    result = experiment.lagom(train_fn, config)
    result["best_config"]

Each module has the name that it has in Maggy. Everything is translated onto `lethe.lagom`;
`docs/from-maggy.md` says what becomes what. Names are imported when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lethe.maggy.ablation import AblationStudy
    from lethe.maggy.config import (
        AblationConfig,
        BaseConfig,
        HyperparameterOptConfig,
        LagomConfig,
        OptimizationConfig,
        TfDistributedConfig,
        TorchDistributedConfig,
    )
    from lethe.maggy.optimizer import Asha, GridSearch, RandomSearch, SingleRun
    from lethe.maggy.optimizer.bayes import GP, TPE
    from lethe.maggy.pruner import Hyperband
    from lethe.maggy.searchspace import Searchspace

_HOMES = {
    "AblationConfig": "lethe.maggy.config",
    "AblationStudy": "lethe.maggy.ablation",
    "Asha": "lethe.maggy.optimizer",
    "BaseConfig": "lethe.maggy.config",
    "GP": "lethe.maggy.optimizer.bayes",
    "GridSearch": "lethe.maggy.optimizer",
    "Hyperband": "lethe.maggy.pruner",
    "HyperparameterOptConfig": "lethe.maggy.config",
    "KerasBatchEnd": "lethe.maggy.callbacks",
    "KerasEpochEnd": "lethe.maggy.callbacks",
    "LagomConfig": "lethe.maggy.config",
    "OptimizationConfig": "lethe.maggy.config",
    "RandomSearch": "lethe.maggy.optimizer",
    "Searchspace": "lethe.maggy.searchspace",
    "SingleRun": "lethe.maggy.optimizer",
    "TPE": "lethe.maggy.optimizer.bayes",
    "TfDistributedConfig": "lethe.maggy.config",
    "TorchDistributedConfig": "lethe.maggy.config",
}
_MODULES = (
    "ablation",
    "callbacks",
    "config",
    "earlystop",
    "experiment",
    "optimizer",
    "pruner",
    "tensorboard",
)

#: Without the Keras callbacks: a star import would need Keras.
__all__ = [
    "GP",
    "TPE",
    "AblationConfig",
    "AblationStudy",
    "Asha",
    "BaseConfig",
    "GridSearch",
    "Hyperband",
    "HyperparameterOptConfig",
    "LagomConfig",
    "OptimizationConfig",
    "RandomSearch",
    "Searchspace",
    "SingleRun",
    "TfDistributedConfig",
    "TorchDistributedConfig",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"lethe.maggy.{name}")
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'lethe.maggy' has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*_HOMES, *_MODULES])
