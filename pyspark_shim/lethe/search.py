"""What is searched, by whom, for how long, and which trials end early."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from typing import Any

from lethe import checks
from lethe.errors import ConfigError
from lethe.optimizers import choose
from lethe.optimizers.ask_tell import Optimizer
from lethe.optimizers.native import Grid, Native
from lethe.space.space import SearchSpace
from lethe.stopping.base import StoppingRule
from lethe.stopping.pbt import PBT
from lethe.workers import workers_message, workers_of

MAX_TRIALS = 10_000_000


@dataclass(frozen=True)
class Search:
    """A hyperparameter search. It ends when the first of `trials`, `seconds`, `epochs` and `target` is
    reached; at least one of the first three must be given.

    space: the hyperparameters, their domains and constraints.
    trials: how many are tried.
    metric: the name of the metric that is compared: `loss`, `train_loss`, or one that `Supervised` computes.
        A list of names searches for the Pareto front; the first then decides what is stopped.
    direction: "max" or "min"; a list for a list of metrics.
    optimizer: who suggests: "random", "grid", "sobol", "tpe", "gp", "cmaes", "nsga2", or an object with its
        settings (`lethe.TPE(startup=20)`), your own `lethe.Optimizer`, or `lethe.optuna(sampler)`. Default:
        "random", and "tpe" with the stopping rule `BOHB`.
    stopping: None, or `ASHA(…)`, `Hyperband(…)`, `BOHB(…)`, `Median(…)`, `Threshold(…)`, `Patience(…)`,
        `PBT(…)`.
    seconds: wall time from the first assignment; of all runs together where it is resumed.
    epochs: passes over the training set by all trials together. Running trials are then stopped.
    target: a value of the (first) metric; the search ends once a trial reports one that is no worse.
    trial_seconds: that a trial may run, all its attempts together, before it is stopped.
    enqueue: points that are tried first, dicts of hyperparameters. What they leave out is the domain's
        default, or drawn. Where it is empty and each domain has a default, the point of all defaults goes
        first, if the constraints allow it (not with "grid").
    retries: how often a trial is run again, from its last checkpoint, whose slot or process was lost.
    retry_exceptions: how often after an exception in its own code.
    seed: of the suggestions, the initial weights, dropout and the order of batches. A rerun on one slot gives
        the same metrics to the bit.
    checkpoint_seconds: after so many seconds of training a trial is saved at the end of its epoch, so that it
        goes on from there where its slot is lost. 0 saves after each.
    workers_per_trial: slots that each trial takes at once; they train one model together, as `Distributed`
        does. A pair takes any number between.
    select: "last": a trial's value, and the weights kept of it, are those of its last report; "best": of its
        best report.

    Raises ConfigError, naming the argument.
    """

    space: SearchSpace
    trials: int | None = None
    metric: str | Sequence[str] = ""
    direction: str | Sequence[str] = ""
    _: KW_ONLY
    optimizer: str | Native | Optimizer | None = None
    stopping: StoppingRule | None = None
    seconds: float | None = None
    epochs: int | None = None
    target: float | None = None
    trial_seconds: float | None = None
    enqueue: Sequence[Mapping[str, Any]] = ()
    retries: int = 3
    retry_exceptions: int = 0
    seed: int = 0
    select: str = "last"
    checkpoint_seconds: float = 30.0
    workers_per_trial: int | tuple[int, int] = 1

    def __post_init__(self) -> None:
        if not isinstance(self.space, SearchSpace):
            raise ConfigError(f"Search: space must be a SearchSpace, not {type(self.space).__name__}")
        self._check_budget()
        self._check_objectives()
        if self.stopping is not None:
            if not isinstance(self.stopping, StoppingRule):
                raise ConfigError(
                    f"Search: stopping must be None or a rule such as ASHA(), not {self.stopping!r}"
                )
            self.stopping.message(self.space)
            if isinstance(self.stopping, PBT) and self.trials is None:
                raise ConfigError("Search: trials must be given with PBT: they are its population")
        _ = self.suggests, self.enqueued
        checks.whole("Search: retries", self.retries, 0)
        checks.whole("Search: retry_exceptions", self.retry_exceptions, 0)
        checks.whole("Search: seed", self.seed, 0, 2**63)
        checks.seconds("Search: checkpoint_seconds", self.checkpoint_seconds)
        workers_of("Search: workers_per_trial", self.workers_per_trial)
        if self.select not in ("last", "best"):
            raise ConfigError(f'Search: select must be "last" or "best", not {self.select!r}')

    def _check_budget(self) -> None:
        if self.trials is None and self.seconds is None and self.epochs is None:
            raise ConfigError("Search: it has no end; give it trials, seconds or epochs")
        if self.trials is not None:
            checks.whole("Search: trials", self.trials, 1, MAX_TRIALS + 1)
        if self.epochs is not None:
            checks.whole("Search: epochs", self.epochs, 1, 2**63)
        if self.seconds is not None:
            checks.above("Search: seconds", self.seconds)
        if self.trial_seconds is not None:
            checks.above("Search: trial_seconds", self.trial_seconds)
        if self.target is not None:
            checks.real("Search: target", self.target)

    def _check_objectives(self) -> None:
        if isinstance(self.metric, str) != isinstance(self.direction, str):
            raise ConfigError("Search: give metric and direction both as one string, or both as lists")
        if len(self.metrics) != len(self.directions) or not self.metrics:
            raise ConfigError(
                f"Search: metric has {len(self.metrics)} names and direction {len(self.directions)}; each "
                "metric needs its direction"
            )
        for metric in self.metrics:
            if not isinstance(metric, str) or not metric:
                raise ConfigError(f"Search: metric must be the name of a metric, not {metric!r}")
            if self.metrics.count(metric) > 1:
                raise ConfigError(f"Search: metric names {metric!r} twice")
        for direction in self.directions:
            if direction not in ("max", "min"):
                raise ConfigError(f'Search: direction must be "max" or "min", not {direction!r}')

    @property
    def metrics(self) -> tuple[str, ...]:
        """Also of a search for one metric."""
        return (self.metric,) if isinstance(self.metric, str) else tuple(self.metric)

    @property
    def directions(self) -> tuple[str, ...]:
        """Of `metrics`, "max" or "min"."""
        return (self.direction,) if isinstance(self.direction, str) else tuple(self.direction)

    @property
    def objectives(self) -> dict[str, str]:
        """The direction of each metric."""
        return dict(zip(self.metrics, self.directions, strict=True))

    @cached_property
    def suggests(self) -> Native | Optimizer:
        """The optimizer that `optimizer` means."""
        return choose.optimizer(self.optimizer, self.stopping)

    @cached_property
    def enqueued(self) -> list[dict[str, Any]]:
        """The first points, with defaults in place of what they leave out."""
        found = []
        for number, point in enumerate(self.enqueue, 1):
            try:
                found.append(self.space.point(point))
            except ValueError as error:
                raise ConfigError(f"Search: enqueue, point {number}: {error}") from None
        unfulfilled = self.space.unfulfilled(found)
        if unfulfilled is not None:
            place, why = unfulfilled
            raise ConfigError(f"Search: enqueue, point {place + 1}, completed by the defaults: {why}")
        if not found and not isinstance(self.suggests, Grid):
            default = self.space.default()
            # Defaults that are not allowed together are not tried.
            if default is not None and self._allows(default):
                found.append(default)
        return found

    def _allows(self, point: dict[str, Any]) -> bool:
        return self.space.refused(point) is None and self.space.unfulfilled([point]) is None

    def source(self, slots: int) -> dict[str, Any]:
        """The message `Source` for an experiment of so many slots."""
        budget = {
            "trials": self.trials,
            "seconds": self.seconds,
            "epochs": self.epochs,
            "target": self.target,
            "trial_seconds": self.trial_seconds,
        }
        stopping = {"type": "none"} if self.stopping is None else self.stopping.message(self.space)
        found = {
            "type": "search",
            "space": self.space.message(),
            "constraints": self.space.expressions,
            "checked": self.space.has_predicates,
            "enqueued": self.enqueued,
            "budget": {name: value for name, value in budget.items() if value is not None},
            "optimizer": choose.message(self.suggests, slots),
            "stopping": stopping,
            "workers": workers_message(self.workers_per_trial),
        }
        if found["workers"] == 1:
            del found["workers"]
        return {name: value for name, value in found.items() if value not in ([], False)}

    def objective(self) -> dict[str, Any]:
        """The message `Objective`."""
        (metric, direction), *further = self.objectives.items()
        found: dict[str, Any] = {"metric": metric, "direction": direction, "select": self.select}
        if further:
            found["further"] = [{"metric": name, "direction": towards} for name, towards in further]
        return found
