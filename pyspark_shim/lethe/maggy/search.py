"""A hyperparameter search of Maggy's as one of Lethe's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lethe.contexts import Entry, Listing
from lethe.dataset.dataset import Dataset
from lethe.errors import ConfigError
from lethe.function import Function
from lethe.maggy.config import HyperparameterOptConfig
from lethe.maggy.earlystop import AbstractEarlyStop, MedianStoppingRule, NoStoppingRule
from lethe.maggy.function import adapted
from lethe.maggy.optimizer import AbstractOptimizer, Asha, GridSearch, RandomSearch, SingleRun
from lethe.maggy.optimizer.bayes import GP, TPE
from lethe.maggy.searchspace import Searchspace, grid_size, space_of
from lethe.maggy.translation import Translation, call_of, ignored_of, placed_of
from lethe.optimizers.ask_tell import Optimizer
from lethe.optimizers.native import Grid, Native
from lethe.search import Search
from lethe.space.space import SearchSpace
from lethe.stopping.base import StoppingRule

BUDGET = "budget"
OPTIMIZERS: dict[str, type[AbstractOptimizer]] = {
    "randomsearch": RandomSearch,
    "gridsearch": GridSearch,
    "asha": Asha,
    "tpe": TPE,
    "gp": GP,
    "none": SingleRun,
}
POLICIES: dict[str, type[AbstractEarlyStop]] = {"median": MedianStoppingRule, "none": NoStoppingRule}


@dataclass(frozen=True)
class Runs(Listing):
    """The same function so many times, without hyperparameters."""

    count: int = 1

    def entries(self, dataset: Dataset | None) -> Sequence[Entry]:
        return [Entry(f"run {number}", {}, number) for number in range(self.count)]


def search(train_fn: Callable[..., Any], config: HyperparameterOptConfig) -> Translation:
    optimizer = _optimizer(config.optimizer)
    ignored = ignored_of(config)
    budget = optimizer.budget if isinstance(optimizer, AbstractOptimizer) else None
    extra = {} if budget is None else {BUDGET: budget}
    none = isinstance(optimizer, SingleRun)
    space = None if none else _space(config.searchspace)
    if none and config.searchspace is not None and len(config.searchspace) > 0:
        ignored.append("searchspace: without an optimizer nothing is drawn from it")
    names = (*(space or ()), *extra)
    call = call_of(train_fn, config, further=names, metric=config.optimization_key, extra=extra)
    function = Function(adapted(call), epochs=budget)
    if budget is not None and "reporter" not in call.asked:
        ignored.append(
            f"the optimizer's rungs: {function.name} takes no reporter, so that every trial trains to its end"
        )
    experiment: Search | Listing
    if space is None:
        experiment = Runs(metric=config.optimization_key, direction=config.direction, count=config.num_trials)
    else:
        experiment = Search(
            space,
            trials=_trials(config, optimizer, ignored),
            metric=config.optimization_key,
            direction=config.direction,
            optimizer=optimizer.suggests() if isinstance(optimizer, AbstractOptimizer) else optimizer,
            stopping=_stopping(config, optimizer, "checkpoint" in call.asked),
        )
    return Translation(function, placed_of(config), experiment, config.name, tuple(ignored), extra)


def _optimizer(given: Any) -> AbstractOptimizer | Native | Optimizer:
    if given is None or isinstance(given, str):
        kind = OPTIMIZERS.get((given or "none").lower())
        if kind is None:
            raise ConfigError(
                f"HyperparameterOptConfig: optimizer must be one of {', '.join(OPTIMIZERS)}, or an object, "
                f"not {given!r}; Lethe's own are objects: lethe.Sobol(), lethe.CMAES()"
            )
        return kind()
    if isinstance(given, AbstractOptimizer | Native | Optimizer):
        return given
    raise ConfigError(
        f"HyperparameterOptConfig: optimizer must be one of {', '.join(OPTIMIZERS)}, an object such as "
        f"Asha(3, 1, 9), or a lethe.Optimizer, not {given!r}"
    )


def _space(given: Any) -> SearchSpace:
    if isinstance(given, SearchSpace):
        return given
    if isinstance(given, Searchspace):
        return space_of(given)
    raise ConfigError(
        f"HyperparameterOptConfig: searchspace must be a Searchspace, not {type(given).__name__}; as in "
        'Searchspace(lr=("DOUBLE", [0.001, 0.1]))'
    )


def _trials(config: HyperparameterOptConfig, optimizer: Any, ignored: list[str]) -> int:
    if isinstance(optimizer, AbstractOptimizer) and optimizer.pruner is not None:
        return optimizer.pruner.configurations()
    if not isinstance(optimizer, GridSearch) or not isinstance(config.searchspace, Searchspace):
        return config.num_trials
    size = grid_size(config.searchspace, Grid().points)
    if size <= config.num_trials or not {"DOUBLE", "INTEGER"} & set(config.searchspace.names().values()):
        return size
    # Maggy refuses such a grid, and its pages show one: then its size surprises.
    ignored.append(f"most of the grid: it has {size} points, and num_trials is {config.num_trials}")
    return config.num_trials


def _stopping(config: HyperparameterOptConfig, optimizer: Any, pause: bool) -> StoppingRule | None:
    policy = config.es_policy
    own = optimizer.stopping(pause) if isinstance(optimizer, AbstractOptimizer) else None
    if own is not None:
        if not isinstance(policy, str):
            raise ConfigError(
                f"HyperparameterOptConfig: the optimizer {type(optimizer).__name__} has a stopping rule, and "
                f"es_policy is another; leave one out, as in RandomSearch() with es_policy={policy!r}"
            )
        return own
    if isinstance(policy, str) and policy.lower() in POLICIES:
        policy = POLICIES[policy.lower()]()
    if isinstance(policy, AbstractEarlyStop):
        return policy.rule(config.es_interval, config.es_min)
    if isinstance(policy, StoppingRule):
        return policy
    raise ConfigError(
        f'HyperparameterOptConfig: es_policy must be "median", "none" or a rule such as lethe.Patience(3), '
        f"not {policy!r}"
    )
