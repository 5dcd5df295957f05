"""Maggy's Bayesian optimizers."""

from __future__ import annotations

from typing import Any, ClassVar

from lethe.errors import ConfigError
from lethe.maggy.optimizer import AbstractOptimizer
from lethe.optimizers import native
from lethe.optimizers.native import Native


class BaseAsyncBO(AbstractOptimizer):
    """num_warmup_trials: the first trials, which are random. pruner, pruner_kwargs: see
    `lethe.maggy.optimizer`. The other settings of Maggy's are accepted; Lethe's optimizers have their own."""

    #: Those of Maggy's.
    settings: ClassVar[tuple[str, ...]] = (
        "random_fraction",
        "interim_results",
        "interim_results_interval",
    )

    def __init__(
        self, num_warmup_trials: int = 15, *, pruner: Any = None, pruner_kwargs: Any = None, **settings: Any
    ) -> None:
        super().__init__(pruner, pruner_kwargs)
        unknown = [name for name in settings if name not in (*BaseAsyncBO.settings, *self.settings)]
        if unknown:
            raise ConfigError(f"{self.name()} has no argument {unknown[0]!r}")
        self.num_warmup_trials, self._given = num_warmup_trials, list(settings)

    def ignored(self) -> list[str]:
        return [f"{name} of {self.name()}: Lethe's optimizer has its own" for name in self._given]


class TPE(BaseAsyncBO):
    settings = ("gamma", "n_samples", "bw_estimation", "bw_factor")

    def suggests(self) -> Native:
        return native.TPE(self.num_warmup_trials)


class GP(BaseAsyncBO):
    settings = (
        "async_strategy",
        "impute_strategy",
        "acq_fun",
        "acq_fun_kwargs",
        "acq_optimizer",
        "acq_optimizer_kwargs",
    )

    def suggests(self) -> Native:
        return native.GP(self.num_warmup_trials)


__all__ = ["GP", "TPE", "BaseAsyncBO"]
