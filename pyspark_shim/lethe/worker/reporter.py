"""What a function says of itself, and by which it is told to end."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from lethe.worker.checkpoint import Checkpoint
from lethe.worker.exchange import Attempt
from lethe.worker.gang.face import Workers
from lethe.worker.outbox import Outbox, Values
from lethe.worker.stopped import TrialStopped

#: Numbers of steps that travel.
MOST_STEPS = 2**32 - 1
MOST_METRICS = 1000
#: Of a metric's name, characters.
NAME = 200


class Reporter:
    """Of one trial."""

    def __init__(
        self,
        spec: dict[str, Any],
        attempt: Attempt,
        outbox: Outbox,
        checkpoint: Checkpoint,
        moment: Moment,
        save: Callable[[int, int], bool],
        workers: Workers,
    ) -> None:
        self._objective = str(spec["objective"]["metric"])
        # Of several workers the first speaks for all.
        self._workers, self._speaks, self._several = workers, workers.rank == 0, workers.world > 1
        self._rungs = frozenset(spec["rungs"])
        self._every = spec.get("decide_every")
        self._attempt, self._outbox = attempt, outbox
        self._checkpoint, self._moment, self._save = checkpoint, moment, save
        #: Epochs are reported from 1, and steps of functions that count from 0 are one less.
        self._first: int | None = None
        self._last = self._begun = 0
        meta = checkpoint.meta()
        if meta is not None:
            self._first, self._begun = meta["first"], meta["epoch"]
        #: How the attempt was told to end.
        self.told: str | None = None

    @property
    def metric(self) -> str:
        """The name of the experiment's metric, which a dict of values must contain."""
        return self._objective

    @property
    def reported(self) -> bool:
        return self._last > 0 or self._begun > 0

    def broadcast(self, metric: Any, step: int | None = None) -> None:
        """Reports a value of the experiment's metric, or several by name.

        metric: a number (a tensor of one element too), or a dict of numbers with the experiment's metric.
        step: of the function's own counting, from 0 or 1, rising; by default one more than before. Rules that
            stop trials count steps as epochs.

        Of several workers all call it at the same steps, and end at the same one: what the first reports is
        the trial's.

        Raises TrialStopped when the trial is to end.
        """
        if self.told is None:
            told = self._reported(metric, step)
            self.told = self._workers.agree(told) if self._several else told
        if self.told is not None:
            raise TrialStopped("the trial is paused" if self.told == "paused" else "the trial is stopped")

    def _reported(self, metric: Any, step: int | None) -> str | None:
        """Of the first worker: how the trial is to end."""
        stopped = self._speaks and self._attempt.stopped
        if stopped and not self._workers.sharded:
            return "stopped"
        epoch = self._epoch(step)
        values = self._values(metric)
        if epoch <= self._begun:
            # A function that repeats what was before its checkpoint.
            return None
        self._last = epoch
        self._count(values, epoch)
        if stopped or not self._speaks:
            return "stopped" if stopped else None
        if self._is_rung(epoch):
            return self._ask(epoch)
        if self._checkpoint.is_due():
            self._save(epoch, self._first or 0)
        return None

    def _count(self, values: Values, epoch: int) -> None:
        if self._speaks:
            self._outbox.add(epoch, values)
        value = values[self._objective]
        # Weights that no worker has alone are kept by all of them, or by none.
        self._moment.look(self._workers.same(value) if self._workers.sharded else value, epoch)

    def log(self, *values: Any) -> None:
        """Prints them, to the trial's log and to whoever watches the experiment."""
        print(*values)

    def returned(self, value: Any) -> None:
        """What the function has returned is its last report; of one that was told to end before, it is
        none."""
        if self.told is not None or not (self._speaks or self._workers.sharded):
            return
        if value is None:
            if not self.reported:
                raise ValueError(
                    "the function has returned nothing and reported nothing; return a number or a dict of "
                    "numbers, or call reporter.broadcast(metric, step)"
                )
            return
        values = self._values(value)
        epoch = max(self._last, self._begun) + 1
        self._count(values, epoch)
        if self._speaks and self._is_rung(epoch):
            # Whatever is decided: it has done all that it was to do.
            self._outbox.flush()
            self._attempt.verdict()

    def _is_rung(self, epoch: int) -> bool:
        return epoch in self._rungs or (self._every is not None and epoch % self._every == 0)

    def _ask(self, epoch: int) -> str | None:
        self._outbox.flush()
        verdict = self._attempt.verdict()
        if verdict == "pause":
            return "paused" if self._save(epoch, self._first or 0) else "stopped"
        return "stopped" if verdict == "stop" else None

    def _epoch(self, step: int | None) -> int:
        if step is None:
            return max(self._last, self._begun) + 1
        # NumPy's integers too.
        if isinstance(step, bool) or not hasattr(step, "__index__") or step < 0:
            raise ValueError(f"reporter.broadcast: step must be a whole number from 0, not {step!r}")
        number = step.__index__()
        if self._first is None:
            self._first = 0 if number == 0 else 1
        epoch = number + 1 - self._first
        if epoch > MOST_STEPS:
            raise ValueError(f"reporter.broadcast: step {step} is beyond {MOST_STEPS}; count steps or epochs")
        if epoch <= self._last:
            raise ValueError(
                f"reporter.broadcast: step {step} was reported after a later one; steps must rise"
            )
        return epoch

    def _values(self, metric: Any) -> Values:
        if isinstance(metric, Mapping) and len(metric) > MOST_METRICS:
            raise ValueError(f"reporter.broadcast: {len(metric)} metrics; at most {MOST_METRICS} can be")
        if not isinstance(metric, Mapping):
            return {self._objective: _number(metric, self._objective)}
        values = {str(name)[:NAME]: _number(value, str(name)) for name, value in metric.items()}
        if self._objective not in values:
            names = ", ".join(values) or "no names"
            raise ValueError(
                f"the experiment's metric {self._objective!r} is not among {names}; report it too"
            )
        return values


def _number(value: Any, name: str) -> float | None:
    """None where it is no finite number: it travels as null."""
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise TypeError(
            f"the metric {name!r} must be a number, not {type(value).__name__}: {error}"
        ) from None
    return found if math.isfinite(found) else None


class Moment:
    """Which report makes the trial's value, and whether its weights are worth keeping."""

    def __init__(
        self, spec: dict[str, Any], meta: dict[str, Any] | None, snapshot: Callable[[], None]
    ) -> None:
        objective = spec["objective"]
        self._sign = 1.0 if objective["direction"] == "max" else -1.0
        self._best_counts = objective["select"] == "best"
        self._so_far = spec.get("best_so_far")
        self._snapshot = snapshot
        own = (spec.get("checkpoint") or {}).get("trial") == spec["trial"]
        self.value: float | None = meta["best"] if meta is not None and own else None
        self.epoch: int | None = meta["best_epoch"] if meta is not None and own else None

    def look(self, value: float | None, epoch: int) -> None:
        if not self._best_counts:
            self.value, self.epoch = value, epoch
        elif self.epoch is None or self._better(value, self.value):
            self.value, self.epoch = value, epoch
            self._snapshot()

    def keeps(self) -> bool:
        """Whether the weights of that moment are no worse than the best trial's so far."""
        return self.epoch is not None and (self._so_far is None or not self._better(self._so_far, self.value))

    def _better(self, a: float | None, b: float | None) -> bool:
        if a is None or b is None:
            return a is not None
        return self._sign * a > self._sign * b
