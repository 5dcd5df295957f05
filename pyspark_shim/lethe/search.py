"""What is searched: the space, the number of trials, and the rules that stop them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lethe.errors import ConfigError
from lethe.space import SearchSpace

MAX_TRIALS = 10_000_000
OPTIMIZERS = ("random",)


@dataclass(frozen=True)
class ASHA:
    """Asynchronous successive halving (Li et al., "A System for Massively Parallel Hyperparameter Tuning",
    2020).

    After `min_epochs`, `min_epochs * reduction`, `min_epochs * reduction**2`, … epochs a trial goes on
    only if its value is among the best `1/reduction` of those that have come so far.
    """

    reduction: int = 3
    min_epochs: int = 1

    def __post_init__(self) -> None:
        if self.reduction < 2:
            raise ConfigError(f"ASHA: reduction must be at least 2, not {self.reduction}")
        if self.min_epochs < 1:
            raise ConfigError(f"ASHA: min_epochs must be at least 1, not {self.min_epochs}")

    def message(self) -> dict[str, Any]:
        return {"type": "asha", "reduction": self.reduction, "min_epochs": self.min_epochs}


@dataclass(frozen=True)
class Search:
    """A hyperparameter search.

    space: the hyperparameters and their domains.
    trials: how many are tried.
    metric: the name of the metric that is compared: `loss`, `train_loss`, or one that `Supervised` computes.
    direction: "max" or "min".
    optimizer: who suggests; "random" draws each parameter from its domain.
    stopping: None, or `ASHA(...)`.
    seed: of the suggestions, the initial weights, dropout and the order of batches. A rerun on one slot gives
        the same metrics to the bit.
    select: "last": a trial's value, and the weights kept of it, are those of its last report; "best": of its
        best report.
    """

    space: SearchSpace
    trials: int
    metric: str
    direction: str
    optimizer: str = "random"
    stopping: ASHA | None = None
    seed: int = 0
    select: str = "last"

    def __post_init__(self) -> None:
        if not isinstance(self.space, SearchSpace):
            raise ConfigError(f"Search: space must be a SearchSpace, not {type(self.space).__name__}")
        if (
            isinstance(self.trials, bool)
            or not isinstance(self.trials, int)
            or not 1 <= self.trials <= MAX_TRIALS
        ):
            raise ConfigError(f"Search: trials must be between 1 and {MAX_TRIALS}, not {self.trials!r}")
        if self.direction not in ("max", "min"):
            raise ConfigError(f'Search: direction must be "max" or "min", not {self.direction!r}')
        if self.optimizer not in OPTIMIZERS:
            raise ConfigError(
                f"Search: optimizer must be one of {', '.join(OPTIMIZERS)}, not {self.optimizer!r}"
            )
        if self.stopping is not None and not isinstance(self.stopping, ASHA):
            raise ConfigError(f"Search: stopping must be None or ASHA(...), not {self.stopping!r}")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or not 0 <= self.seed < 2**63:
            raise ConfigError(f"Search: seed must be a whole number from 0, below 2**63, not {self.seed!r}")
        if self.select not in ("last", "best"):
            raise ConfigError(f'Search: select must be "last" or "best", not {self.select!r}')

    def source(self) -> dict[str, Any]:
        return {
            "type": "search",
            "space": self.space.message(),
            "trials": self.trials,
            "optimizer": {"type": self.optimizer},
            "stopping": {"type": "none"} if self.stopping is None else self.stopping.message(),
        }

    def objective(self) -> dict[str, Any]:
        return {"metric": self.metric, "direction": self.direction, "select": self.select}
