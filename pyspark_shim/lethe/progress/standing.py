"""How an experiment stands, in words."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any


class Standing:
    """Counts, rate, time left and the best of an experiment, from its last message `Progress`.

    total: trials; None where the budget does not count them. metric: the name of the (first) metric.
    epochs: of an experiment of one trial, how many it runs: they are counted instead of trials.
    """

    def __init__(self, name: str, total: int | None, metric: str, epochs: int | None = None) -> None:
        self.name, self.metric = name, metric
        counts_epochs = total == 1 and epochs is not None
        self.unit = "epoch" if counts_epochs else "trial"
        self.total = epochs if counts_epochs else total
        #: Done before this run, of an experiment that was resumed: they tell nothing of its rate.
        self.initial = 0
        self.progress: dict[str, Any] | None = None
        self._began = time.monotonic()

    def take(self, progress: dict[str, Any]) -> None:
        first, self.progress = self.progress is None, progress
        if first:
            self.initial = self.done

    @property
    def done(self) -> int:
        """Trials that have ended, or epochs."""
        found = self.progress
        if found is None:
            return 0
        if self.unit == "epoch":
            # An attempt that is lost is trained again.
            return int(found["epochs"]) if self.total is None else min(int(found["epochs"]), self.total)
        return int(found["finished"] + found["stopped"] + found["failed"])

    @property
    def elapsed(self) -> float:
        """Seconds since it began here."""
        return time.monotonic() - self._began

    @property
    def rate(self) -> float | None:
        """Trials, or epochs, a second, in the mean of this run; None before the first."""
        new = self.done - self.initial
        return new / self.elapsed if new > 0 and self.elapsed > 0 else None

    def counts(self) -> list[str]:
        """How many trials are in which state, where that says something."""
        found = self.progress or {}
        states = ["stopped", "failed", "paused", "running"]
        if self.unit == "epoch":
            # Of the only trial.
            return [state for state in states if found.get(state)]
        return [f"{found.get(state, 0)} {state}" for state in states if state != "paused" or found.get(state)]

    def best(self) -> str | None:
        found = self.progress or {}
        if found.get("best") is None:
            return None
        trial = "" if self.unit == "epoch" else f" (trial {found['best_trial']})"
        return f"best {self.metric} {found['best']:.4g}{trial}"

    def words(self) -> str:
        """Counts and the best."""
        best = self.best()
        return ", ".join([*self.counts(), *([] if best is None else [best])])

    def pace(self) -> list[str]:
        """For how long it has run, and by its rate: for how long it will, and that."""
        pace = [self._format("{elapsed} so far")]
        if self.rate is not None:
            left = [] if self.total is None else [self._format("{remaining} left")]
            pace += [*left, self._format("{rate_noinv_fmt}").strip()]
        return pace

    def line(self) -> str:
        """All of it, and the epochs that were trained: where trials take hours nothing else changes."""
        epochs = (self.progress or {}).get("epochs", 0)
        trained = [f"{epochs} epochs"] if epochs and self.unit == "trial" else []
        of = "{n_fmt}" if self.total is None else "{n_fmt}/{total_fmt}"
        form = f"{{desc}}: {of} {self.unit}s [{{elapsed}}<{{remaining}}, {{rate_fmt}}{{postfix}}]"
        return self._format(form, trained)

    def _format(self, form: str, further: Sequence[str] = ()) -> str:
        from tqdm import tqdm

        text: str = tqdm.format_meter(
            self.done,
            self.total,
            self.elapsed,
            prefix=self.name,
            unit=self.unit,
            initial=self.initial,
            bar_format=form,
            postfix=", ".join([word for word in (self.words(), *further) if word]),
        )
        return text
