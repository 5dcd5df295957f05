"""What a configuration becomes, and what all kinds of them have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lethe.contexts import Listing
from lethe.dataset.dataset import Dataset
from lethe.errors import ConfigError
from lethe.function import Function
from lethe.maggy.config import METRIC, LagomConfig
from lethe.maggy.function import Call, asked_by
from lethe.search import Search


@dataclass(frozen=True)
class Translation:
    """The arguments of `lethe.lagom`, and what else the answer takes.

    name: that of the configuration. ignored: what there is nothing for, each in a few words.
    extra: hyperparameters that only the function knows. left_out: of an ablation study, by the component's
    name, what Maggy says of its trial.
    """

    train: Function
    dataset: Dataset | None
    experiment: Search | Listing
    name: str
    ignored: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    left_out: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def call_of(
    train_fn: Callable[..., Any],
    config: LagomConfig,
    *,
    further: tuple[str, ...] = (),
    metric: str = METRIC,
    **changes: Any,
) -> Call:
    """How the function is called, with what the configuration gives it as it is. further: names that it can
    ask for beside the usual. changes: further arguments of `Call`."""
    placed = placed_of(config)
    dataset = None if placed is not None else config.dataset
    several = dataset if isinstance(dataset, list | tuple) else ()
    if any(isinstance(one, Dataset) for one in (*several, config.train_set, config.test_set)):
        raise ConfigError(
            f"{config.kind}: a lethe.Dataset is dataset= itself; its parts are train_set and test_set then"
        )
    return Call(
        train_fn,
        asked_by(train_fn, further),
        metric,
        model=getattr(config, "module", config.model),
        dataset=dataset,
        train_set=config.train_set,
        test_set=config.test_set,
        placed=placed is not None,
        **changes,
    )


def placed_of(config: LagomConfig) -> Dataset | None:
    """The dataset that `lethe.lagom` gets."""
    return config.dataset if isinstance(config.dataset, Dataset) else None


def ignored_of(config: LagomConfig) -> list[str]:
    return [] if config.hb_interval == 1 else ["hb_interval: reports go as they are made"]
