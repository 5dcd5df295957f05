"""What a tracker is: where it is (`Tracker`), and what it does with one experiment (`Sink`)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class About:
    """An experiment, before it begins.

    context: "search", "single", … directory: its folder on this host. objectives: directions by metric.
    params: what else was said of it: function, optimizer, budget. resumed: it goes on from an earlier run.
    names: of its trials, where they are a list. seed_of: a trial's seed, by its number.
    """

    name: str
    directory: str
    context: str
    seed: int
    objectives: Mapping[str, str]
    params: Mapping[str, Any]
    versions: Mapping[str, str]
    resumed: bool
    seed_of: Callable[[int], int]
    names: Sequence[str] = ()

    def name_of(self, trial: int) -> str:
        return self.names[trial] if trial < len(self.names) else f"trial {trial}"


@dataclass(frozen=True)
class Trial:
    """A trial as it stands in the table `trials`. began, ended: milliseconds since 1970."""

    number: int
    state: str
    attempts: int
    epochs: int
    value: float | None
    hparams: Mapping[str, Any]
    slot: int | None
    error: str | None
    why: str | None
    began: int
    ended: int | None = None


@dataclass(frozen=True)
class Report:
    """What a trial reported after an epoch (a function's step, from 1). at: milliseconds since 1970."""

    epoch: int
    at: int
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Outcome:
    """How an experiment ended.

    state: "finished", "stopped" (by the user) or "failed". model: makes the best trial's module; sections:
    the messages `Section` of its inputs. files: further ones that belong to the model.
    """

    state: str
    error: str | None = None
    best: int | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    model: Callable[[], nn.Module] | None = None
    sections: Any = None
    files: Sequence[str] = ()


class Refused(Exception):
    """The tracker will never take this: it is lost, and what follows is not delayed by it."""


class Sink(ABC):
    """What becomes of one experiment. All is called from one thread, in this order; what raises anything but
    Refused is called again, later, with the same."""

    @abstractmethod
    def begin(self, about: About, at: int) -> None:
        """at: when the experiment began, the first time; with its name it tells it from all others."""

    @abstractmethod
    def start(self, trial: Trial) -> int:
        """A trial runs: for the first time, again, or it was found in the journal of an experiment that goes
        on. Returns the last epoch of it that is there already, 0 if none is."""

    @abstractmethod
    def report(self, trial: int, reports: Sequence[Report]) -> None:
        """Of one trial, by epoch."""

    @abstractmethod
    def end(self, trial: Trial) -> None:
        """Its state is "finished", "stopped", "failed" or "cancelled"."""

    @abstractmethod
    def finish(self, outcome: Outcome) -> None:
        """The experiment has ended."""

    def close(self) -> None:
        """Called at the end, also where the experiment was not finished; must not wait."""
        return


class Tracker(ABC):
    """Where experiments are tracked: `lagom(…, track=…)`. One may serve several, one after another.

    patience: seconds after an experiment's end that `lagom` waits at most while it takes the rest.
    """

    patience: float = 60.0

    @property
    @abstractmethod
    def place(self) -> str:
        """For messages."""

    @abstractmethod
    def sink(self) -> Sink:
        """For one experiment. Does not wait, and imports nothing heavy: the tracker's thread does."""
