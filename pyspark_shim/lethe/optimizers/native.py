"""The optimizers that the driver has, by their settings."""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass
from typing import Any, ClassVar

from lethe import checks

#: Values of all parameters of a grid together.
MOST_POINTS = 1_000_000
#: Trials of a generation.
MOST_POPULATION = 100_000


class Native(ABC):
    """An optimizer in Rust: its message is its type and its settings."""

    kind: ClassVar[str]

    def message(self) -> dict[str, Any]:
        """The message `Optimizer`."""
        settings = {name: value for name, value in vars(self).items() if value is not None}
        return {"type": self.kind, **settings}


@dataclass(frozen=True)
class Random(Native):
    """Draws each parameter from its domain. The yardstick of all others, and hard to beat with many slots
    and an early stopping rule."""

    kind = "random"


@dataclass(frozen=True)
class Grid(Native):
    """Every combination once, and then the search ends.

    points: values of each continuous parameter without a step, its bounds included. Default 5.
    """

    points: int = 5
    kind = "grid"

    def __post_init__(self) -> None:
        checks.whole("Grid: points", self.points, 2, MOST_POINTS + 1)


@dataclass(frozen=True)
class Sobol(Native):
    """A scrambled Sobol sequence (Owen, 1998), which covers the space more evenly than `Random`."""

    kind = "sobol"


@dataclass(frozen=True)
class TPE(Native):
    """Tree-structured Parzen estimator (Bergstra et al., "Algorithms for Hyper-Parameter Optimization",
    2011), multivariate: for conditional and mixed spaces, and hundreds of trials.

    startup: the first trials, which are random. Default 10.
    """

    startup: int = 10
    kind = "tpe"

    def __post_init__(self) -> None:
        checks.whole("TPE: startup", self.startup, 1)


@dataclass(frozen=True)
class GP(Native):
    """Gaussian process with expected improvement (Jones et al., "Efficient Global Optimization of Expensive
    Black-Box Functions", 1998): for few, expensive trials. One objective.

    startup: the first trials, which are those of `Sobol`. Default 10.
    """

    startup: int = 10
    kind = "gp"

    def __post_init__(self) -> None:
        checks.whole("GP: startup", self.startup, 1)


@dataclass(frozen=True)
class CMAES(Native):
    """Covariance matrix adaptation (Hansen, "The CMA Evolution Strategy: A Tutorial", 2016): for numbers and
    a thousand trials. One objective.

    sigma: the first step size, as a share of each range. Default a sixth, as in the search benchmark.
    population: trials of a generation, from 3; None: by the number of parameters.
    """

    sigma: float = 0.1667
    population: int | None = None
    kind = "cmaes"

    def __post_init__(self) -> None:
        checks.above("CMAES: sigma", self.sigma)
        checks.share("CMAES: sigma", self.sigma)
        if self.population is not None:
            checks.whole("CMAES: population", self.population, 3, MOST_POPULATION + 1)


@dataclass(frozen=True)
class NSGA2(Native):
    """Genetic search for a Pareto front (Deb et al., "A Fast and Elitist Multiobjective Genetic Algorithm:
    NSGA-II", 2002): for several objectives.

    population: trials of a generation, from 2. Default 50.
    """

    population: int = 50
    kind = "nsga2"

    def __post_init__(self) -> None:
        checks.whole("NSGA2: population", self.population, 2, MOST_POPULATION + 1)


NAMES: dict[str, type[Native]] = {found.kind: found for found in (Random, Grid, Sobol, TPE, GP, CMAES, NSGA2)}
