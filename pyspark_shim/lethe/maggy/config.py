"""Maggy's configurations: what kind of experiment `lagom` runs, and with what."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from lethe import checks
from lethe.errors import ConfigError
from lethe.workers import Workers, workers_of

if TYPE_CHECKING:
    from lethe.maggy.ablation import AblationStudy
    from lethe.maggy.searchspace import Searchspace
    from lethe.space.space import SearchSpace

#: The metric of what a function returns, where it has no other name.
METRIC = "metric"


class LagomConfig:
    """What all configurations have: name, of the experiment; description, for those who read the program; and
    hb_interval, Maggy's seconds between heartbeats: Lethe's reports go as they are made.

    model, dataset, train_set, test_set: what the function gets under these names, as it is: a class, data,
    paths. As dataset also a `lethe.Dataset`: the function then gets the trial's, and the parts `train` and
    `validation` (`test` without one) of it as train_set and test_set. Of a list they are the first and the
    second element.
    """

    name: str
    description: str
    hb_interval: float
    model: Any = None
    dataset: Any = None
    train_set: Any = None
    test_set: Any = None
    hparams: Mapping[str, Any] | None = None
    #: In errors.
    kind: ClassVar[str] = "LagomConfig"

    def _check_direction(self, direction: Any) -> str:
        if not isinstance(direction, str) or direction.lower() not in ("max", "min"):
            raise ConfigError(f'{self.kind}: direction must be "max" or "min", not {direction!r}')
        return direction.lower()


@dataclass
class BaseConfig(LagomConfig):
    """One run of the function."""

    name: str = "base"
    hb_interval: float = 1
    description: str = ""
    kind: ClassVar[str] = "BaseConfig"


@dataclass
class HyperparameterOptConfig(LagomConfig):
    """A hyperparameter search.

    num_trials: how many are tried; of a grid all.
    optimizer: "randomsearch", "gridsearch", "asha", "tpe", "gp", "none", or an object: one of
        `lethe.maggy.optimizer`, `lethe.TPE()` and others, or a `lethe.Optimizer` of your own.
    searchspace: a `Searchspace`, or a `lethe.SearchSpace`.
    optimization_key: the name of the metric, under which it is in a dictionary that the function returns.
    direction: "max" or "min".
    es_policy: "median", "none", or a rule such as `lethe.Patience(3)`. es_min: trials that end before the
        first is stopped. es_interval: steps that each trial gets.
    """

    num_trials: int
    optimizer: Any
    searchspace: Searchspace | SearchSpace | None
    optimization_key: str = METRIC
    direction: str = "max"
    es_interval: int = 1
    es_min: int = 10
    es_policy: Any = "median"
    name: str = "HPOptimization"
    description: str = ""
    hb_interval: float = 1
    model: Any = None
    dataset: Any = None
    _: KW_ONLY
    train_set: Any = None
    test_set: Any = None
    kind: ClassVar[str] = "HyperparameterOptConfig"

    def __post_init__(self) -> None:
        checks.whole(f"{self.kind}: num_trials", self.num_trials, 1)
        checks.whole(f"{self.kind}: es_interval", self.es_interval, 1)
        checks.whole(f"{self.kind}: es_min", self.es_min, 0)
        self.direction = self._check_direction(self.direction)


#: Its name in Maggy 1.0.
OptimizationConfig = HyperparameterOptConfig


@dataclass
class AblationConfig(LagomConfig):
    """An ablation study.

    ablator: "loco", which leaves out one component at a time, or a `lethe.Ablator` of your own, whose
        components come beside those of the study.
    dataset: a `lethe.Dataset`, where the study leaves out features.
    """

    ablation_study: AblationStudy
    ablator: Any = "loco"
    direction: str = "max"
    name: str = "ablationStudy"
    description: str = ""
    hb_interval: float = 1
    model: Any = None
    dataset: Any = None
    _: KW_ONLY
    train_set: Any = None
    test_set: Any = None
    kind: ClassVar[str] = "AblationConfig"

    def __post_init__(self) -> None:
        self.direction = self._check_direction(self.direction)


@dataclass
class TorchDistributedConfig(LagomConfig):
    """One training on several workers.

    module: a class, or a list of classes, which the function gets as `module`: on several workers what it
        makes of them is trained together. hparams: what it gets as `hparams`.
    workers: how many, or a pair of the fewest and the most. None takes one and says so.
    zero_lvl: above 0 each worker holds a part of the module (PyTorch's FSDP).
    """

    module: Any
    dataset: Any = None
    hparams: Mapping[str, Any] | None = None
    backend: str = "torch"
    mixed_precision: bool = False
    zero_lvl: int = 0
    deepspeed_config: Mapping[str, Any] | None = None
    name: str = "torchDist"
    hb_interval: float = 1
    description: str = ""
    _: KW_ONLY
    train_set: Any = None
    test_set: Any = None
    workers: Workers | None = None
    kind: ClassVar[str] = "TorchDistributedConfig"

    def __post_init__(self) -> None:
        if self.backend not in ("torch", "deepspeed"):
            raise ConfigError(f'{self.kind}: backend must be "torch" or "deepspeed", not {self.backend!r}')
        if self.workers is not None:
            workers_of(f"{self.kind}: workers", self.workers)


@dataclass
class TfDistributedConfig(LagomConfig):
    """One training on several workers, under TensorFlow's MultiWorkerMirroredStrategy (`strategy` of
    `lethe.Function` says who can reach its ports).

    model: a class, which the function gets as `model`. hparams: what it gets as `hparams`.
    process_data: called with `dataset` where the function runs; what it returns is the dataset.
    workers: how many, or a pair of the fewest and the most. None takes one and says so.
    """

    model: Any = None
    dataset: Any = None
    process_data: Callable[[Any], Any] | None = None
    mixed_precision: bool = False
    name: str = "tfDist"
    hb_interval: float = 1
    description: str = ""
    hparams: Mapping[str, Any] | None = None
    _: KW_ONLY
    train_set: Any = None
    test_set: Any = None
    workers: Workers | None = None
    kind: ClassVar[str] = "TfDistributedConfig"

    def __post_init__(self) -> None:
        if self.workers is not None:
            workers_of(f"{self.kind}: workers", self.workers)


__all__ = [
    "AblationConfig",
    "BaseConfig",
    "HyperparameterOptConfig",
    "LagomConfig",
    "OptimizationConfig",
    "TfDistributedConfig",
    "TorchDistributedConfig",
]
