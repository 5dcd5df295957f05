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
    from lethe.ablation.ablation import Ablation
    from lethe.ablation.ablator import Ablator
    from lethe.ablation.component import Component
    from lethe.ablation.report import AblationTable
    from lethe.application.registry import shutdown
    from lethe.context import parallel, rank, world
    from lethe.contexts import Distributed, Single
    from lethe.dataset.dataset import Dataset
    from lethe.dataset.inputs import Input
    from lethe.dataset.part import Part
    from lethe.dataset.preprocessing import Preprocessing
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
    from lethe.function import Function
    from lethe.optimizers.ask_tell import Optimizer, Trial
    from lethe.optimizers.native import CMAES, GP, NSGA2, TPE, Grid, Random, Sobol
    from lethe.optimizers.optuna_sampler import optuna
    from lethe.result.opened import Opened
    from lethe.result.opened import open as open  # noqa: A004
    from lethe.result.result import Best, Result
    from lethe.saved.load import load
    from lethe.saved.model import SavedModel
    from lethe.search import Search
    from lethe.settings import Settings
    from lethe.space.constraint import Constraint, constraint
    from lethe.space.domain import Domain, choice, integer, loguniform, ordinal, uniform
    from lethe.space.space import SearchSpace
    from lethe.stopping.curves import Median, Patience, Threshold
    from lethe.stopping.halving import ASHA, BOHB, Hyperband
    from lethe.stopping.pbt import PBT
    from lethe.supervised import Registered, Supervised
    from lethe.tracking.mlflow import MLflow
    from lethe.tracking.tensorboard import TensorBoard
    from lethe.worker.stopped import TrialStopped

__version__: str = importlib.metadata.version("lethe")

_HOMES = {
    "ASHA": "lethe.stopping.halving",
    "Ablation": "lethe.ablation.ablation",
    "AblationTable": "lethe.ablation.report",
    "Ablator": "lethe.ablation.ablator",
    "BOHB": "lethe.stopping.halving",
    "Best": "lethe.result.result",
    "CMAES": "lethe.optimizers.native",
    "Component": "lethe.ablation.component",
    "ConfigError": "lethe.errors",
    "Constraint": "lethe.space.constraint",
    "DataError": "lethe.errors",
    "Dataset": "lethe.dataset.dataset",
    "Distributed": "lethe.contexts",
    "Domain": "lethe.space.domain",
    "ExperimentError": "lethe.errors",
    "Function": "lethe.function",
    "GP": "lethe.optimizers.native",
    "Grid": "lethe.optimizers.native",
    "Hyperband": "lethe.stopping.halving",
    "Input": "lethe.dataset.inputs",
    "InstallError": "lethe.errors",
    "LetheError": "lethe.errors",
    "MLflow": "lethe.tracking.mlflow",
    "Median": "lethe.stopping.curves",
    "ModelError": "lethe.errors",
    "NSGA2": "lethe.optimizers.native",
    "Opened": "lethe.result.opened",
    "Optimizer": "lethe.optimizers.ask_tell",
    "PBT": "lethe.stopping.pbt",
    "Part": "lethe.dataset.part",
    "Patience": "lethe.stopping.curves",
    "Preprocessing": "lethe.dataset.preprocessing",
    "ProcessError": "lethe.errors",
    "Random": "lethe.optimizers.native",
    "Registered": "lethe.supervised",
    "Result": "lethe.result.result",
    "SavedModel": "lethe.saved.model",
    "Search": "lethe.search",
    "SearchSpace": "lethe.space.space",
    "Settings": "lethe.settings",
    "Single": "lethe.contexts",
    "Sobol": "lethe.optimizers.native",
    "Supervised": "lethe.supervised",
    "TPE": "lethe.optimizers.native",
    "TensorBoard": "lethe.tracking.tensorboard",
    "Terminated": "lethe.errors",
    "Threshold": "lethe.stopping.curves",
    "Trial": "lethe.optimizers.ask_tell",
    "TrialStopped": "lethe.worker.stopped",
    "choice": "lethe.space.domain",
    "constraint": "lethe.space.constraint",
    "integer": "lethe.space.domain",
    "lagom": "lethe.experiment.lagom",
    "load": "lethe.saved.load",
    "loguniform": "lethe.space.domain",
    "open": "lethe.result.opened",
    "optuna": "lethe.optimizers.optuna_sampler",
    "ordinal": "lethe.space.domain",
    "parallel": "lethe.context",
    "rank": "lethe.context",
    "shutdown": "lethe.application.registry",
    "uniform": "lethe.space.domain",
    "world": "lethe.context",
}

#: Without `open`: a star import would hide the builtin.
__all__ = [
    "ASHA",
    "BOHB",
    "CMAES",
    "GP",
    "NSGA2",
    "PBT",
    "TPE",
    "Ablation",
    "AblationTable",
    "Ablator",
    "Best",
    "Component",
    "ConfigError",
    "Constraint",
    "DataError",
    "Dataset",
    "Distributed",
    "Domain",
    "ExperimentError",
    "Function",
    "Grid",
    "Hyperband",
    "Input",
    "InstallError",
    "LetheError",
    "MLflow",
    "Median",
    "ModelError",
    "Opened",
    "Optimizer",
    "Part",
    "Patience",
    "Preprocessing",
    "ProcessError",
    "Random",
    "Registered",
    "Result",
    "SavedModel",
    "Search",
    "SearchSpace",
    "Settings",
    "Single",
    "Sobol",
    "Supervised",
    "TensorBoard",
    "Terminated",
    "Threshold",
    "Trial",
    "TrialStopped",
    "__version__",
    "choice",
    "constraint",
    "integer",
    "lagom",
    "load",
    "loguniform",
    "optuna",
    "ordinal",
    "parallel",
    "rank",
    "shutdown",
    "uniform",
    "world",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'lethe' has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "open"])
