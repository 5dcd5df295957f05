"""Contexts that are a list of trials: one, or one on several workers. Those that are searched for are
`Search`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from lethe import checks
from lethe.errors import ConfigError
from lethe.workers import Workers, workers_of

if TYPE_CHECKING:
    from lethe.dataset.dataset import Dataset
    from lethe.function import Function
    from lethe.supervised import Registered, Supervised

#: The metric of what a Python or Rust function returns, where it has no other name.
VALUE = "value"


@dataclass(frozen=True)
class Entry:
    """One of a list of trials.

    name: in words. replicate: trials of one replicate share their seed. without: columns that are left out of
    the features. dataset: another one than the experiment's. model: makes another generator of the
    experiment's. workers: slots that it takes at once.
    """

    name: str
    hparams: Mapping[str, Any]
    replicate: int = 0
    without: tuple[str, ...] = ()
    dataset: Dataset | None = None
    model: Callable[[Callable[..., Any] | None], Callable[..., Any]] | None = None
    workers: Workers = 1


@dataclass(frozen=True)
class Listing(ABC):
    """What contexts have in common whose trials are a list.

    metric: the name of the metric that is reported; None takes `loss` of `Supervised` (`train_loss` without a
        validation set), or `value`, which is what a function returns.
    direction: "max" or "min": which of a trial's moments is kept with select="best", and which trial is best.
        None: "min" of losses, else "max".
    checkpoint_seconds: after so many seconds of training a trial is saved at the end of its epoch, so that it
        goes on from there where its slot is lost. 0 saves after each.
    """

    _: KW_ONLY
    metric: str | None = None
    direction: str | None = None
    seed: int = 0
    select: str = "last"
    retries: int = 3
    checkpoint_seconds: float = 30.0
    retry_exceptions: int = 0
    trial_seconds: float | None = None

    def __post_init__(self) -> None:
        if self.metric is not None and (not isinstance(self.metric, str) or not self.metric):
            raise ConfigError(f"{self._kind}: metric must be the name of a metric, not {self.metric!r}")
        if self.direction not in (None, "max", "min"):
            raise ConfigError(f'{self._kind}: direction must be "max" or "min", not {self.direction!r}')
        if self.select not in ("last", "best"):
            raise ConfigError(f'{self._kind}: select must be "last" or "best", not {self.select!r}')
        checks.whole(f"{self._kind}: seed", self.seed, 0, 2**63)
        checks.whole(f"{self._kind}: retries", self.retries, 0)
        checks.seconds(f"{self._kind}: checkpoint_seconds", self.checkpoint_seconds)
        checks.whole(f"{self._kind}: retry_exceptions", self.retry_exceptions, 0)
        if self.trial_seconds is not None:
            checks.above(f"{self._kind}: trial_seconds", self.trial_seconds)

    @property
    def _kind(self) -> str:
        return type(self).__name__

    @abstractmethod
    def entries(self, dataset: Dataset | None) -> Sequence[Entry]:
        """The trials, in their order."""

    @property
    def needs_dataset(self) -> bool:
        """Whether its trials follow from the dataset."""
        return False

    def of(self, train: Supervised | Registered | Function, validated: bool) -> Listing:
        """With the metric that the function reports, where none was named."""
        from lethe.supervised import Supervised

        metric = self.metric
        if metric is None and isinstance(train, Supervised):
            metric = "loss" if validated or train.loss is None else "train_loss"
        metric = metric or VALUE
        losses = ("loss", "train_loss", "mse", "mae")
        return replace(
            self, metric=metric, direction=self.direction or ("min" if metric in losses else "max")
        )

    @property
    def metrics(self) -> tuple[str, ...]:
        return (str(self.metric),)

    @property
    def objectives(self) -> dict[str, str]:
        return {str(self.metric): str(self.direction)}

    def objective(self) -> dict[str, Any]:
        """The message `Objective`."""
        return {"metric": self.metric, "direction": self.direction, "select": self.select}


def check_hparams(kind: str, hparams: Any) -> None:
    if not isinstance(hparams, Mapping):
        raise ConfigError(f"{kind}: hparams must be a dict, not {type(hparams).__name__}")
    for name, value in hparams.items():
        if not isinstance(name, str):
            raise ConfigError(f"{kind}: hparams must have strings as names, not {name!r}")
        if not (value is None or isinstance(value, bool | int | float | str)):
            raise ConfigError(
                f"{kind}: hparams[{name!r}] must be a number, a string, True, False or None, "
                f"not {type(value).__name__}"
            )


@dataclass(frozen=True)
class Single(Listing):
    """One trial with these hyperparameters: training on a laptop, or on a cluster.

    For the other arguments see `Listing`.
    """

    hparams: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_hparams(self._kind, self.hparams)

    def entries(self, dataset: Dataset | None) -> Sequence[Entry]:
        return [Entry("single", self.hparams)]


@dataclass(frozen=True)
class Distributed(Listing):
    """One trial on several workers at once, which train one model together.

    hparams: say, those of a search's best trial: `Distributed(hparams=search.best.hparams)`.
    workers: how many. Each holds a slot; they begin when all are there. A pair, the fewest and the most,
        takes as many as there are; where one is lost, the others soon go on from the last checkpoint.
    order: which rows a worker trains on. "global": its slice of each batch of one worker, so that several
        have the losses of one; each executor holds all rows. "local": the same rows in each epoch, those that
        lie on its executor as far as that goes, as many as any other to within one. For data that no executor
        is to hold alone, put from Spark or from memory: as few bytes move as can, and a notice says how many.
        Batches are then of rows that lie together, of about `batch_size`, and none is short; what needs all
        rows is refused: normalize(), strings, a key, queries that leave out rows, splits by a column.
    """

    hparams: Mapping[str, Any] = field(default_factory=dict)
    workers: Workers = 1
    order: str = "global"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_hparams(self._kind, self.hparams)
        workers_of("Distributed: workers", self.workers)
        if self.order not in ("global", "local"):
            raise ConfigError(f'Distributed: order must be "global" or "local", not {self.order!r}')

    def entries(self, dataset: Dataset | None) -> Sequence[Entry]:
        return [Entry("distributed", self.hparams, workers=self.workers)]
