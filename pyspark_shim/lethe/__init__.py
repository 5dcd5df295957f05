"""Lethe: distribution-oblivious training functions on Apache Spark.

    train = lethe.Supervised(model=model, loss="cross_entropy", metrics=["accuracy"], epochs=27)
    digits = lethe.Dataset.from_spark(df, features="pixels", label="digit").split(validation=0.2, seed=7)
    space = lethe.SearchSpace(lr=lethe.loguniform(1e-4, 1e-1), width=lethe.integer(16, 256))
    result = lethe.lagom(train, digits, lethe.Search(space, trials=60, metric="accuracy", direction="max"))

Names are imported when they are first used: a Spark task that only needs `lethe.task` loads nothing else.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lethe.application.registry import shutdown
    from lethe.dataset.dataset import Dataset, Part
    from lethe.errors import (
        ConfigError,
        DataError,
        ExperimentError,
        InstallError,
        LetheError,
        ModelError,
        ProcessError,
        Terminated,
    )
    from lethe.experiment.lagom import lagom
    from lethe.result.result import Best, Result
    from lethe.search import ASHA, Search
    from lethe.settings import Settings
    from lethe.space import Domain, SearchSpace, choice, integer, loguniform, uniform
    from lethe.supervised import Registered, Supervised

__version__: str = importlib.metadata.version("lethe")

_HOMES = {
    "ASHA": "lethe.search",
    "Best": "lethe.result.result",
    "ConfigError": "lethe.errors",
    "DataError": "lethe.errors",
    "Dataset": "lethe.dataset.dataset",
    "Domain": "lethe.space",
    "ExperimentError": "lethe.errors",
    "InstallError": "lethe.errors",
    "LetheError": "lethe.errors",
    "ModelError": "lethe.errors",
    "Part": "lethe.dataset.dataset",
    "ProcessError": "lethe.errors",
    "Registered": "lethe.supervised",
    "Result": "lethe.result.result",
    "Search": "lethe.search",
    "SearchSpace": "lethe.space",
    "Settings": "lethe.settings",
    "Supervised": "lethe.supervised",
    "Terminated": "lethe.errors",
    "choice": "lethe.space",
    "integer": "lethe.space",
    "lagom": "lethe.experiment.lagom",
    "loguniform": "lethe.space",
    "shutdown": "lethe.application.registry",
    "uniform": "lethe.space",
}

__all__ = [
    "ASHA",
    "Best",
    "ConfigError",
    "DataError",
    "Dataset",
    "Domain",
    "ExperimentError",
    "InstallError",
    "LetheError",
    "ModelError",
    "Part",
    "ProcessError",
    "Registered",
    "Result",
    "Search",
    "SearchSpace",
    "Settings",
    "Supervised",
    "Terminated",
    "__version__",
    "choice",
    "integer",
    "lagom",
    "loguniform",
    "shutdown",
    "uniform",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'lethe' has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
