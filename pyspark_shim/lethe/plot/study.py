"""What an experiment's trials came to, as the figures need it."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lethe.errors import ConfigError, LetheError
from lethe.plot import journal

if TYPE_CHECKING:
    from lethe.result.sql import Tables

#: Columns of the table `trials` that are neither hyperparameters nor metrics, see driver/tables.
_OWN = {
    "trial",
    "state",
    "attempts",
    "value",
    "epochs",
    "slot",
    "idle_s",
    "setup_s",
    "train_s",
    "error",
    "why",
}


@dataclass(frozen=True)
class Trial:
    """hparams: those that exist in it. metrics: by name, at its best or last moment; NaN where there is none.
    error: why it failed."""

    number: int
    state: str
    epochs: int
    hparams: dict[str, Any]
    metrics: dict[str, float]
    error: str | None


@dataclass(frozen=True)
class Target:
    """A metric, whether "max" or "min" is wanted (None: neither), and the trials with a finite value that did
    not fail."""

    metric: str
    direction: str | None
    trials: list[Trial]

    def value(self, trial: Trial) -> float:
        return trial.metrics[self.metric]

    @cached_property
    def values(self) -> list[float]:
        return [self.value(trial) for trial in self.trials]

    @cached_property
    def best(self) -> Trial | None:
        """Of equals the first; None where no direction is known."""
        if self.direction is None:
            return None
        sign = -1 if self.direction == "max" else 1
        return min(self.trials, key=lambda trial: sign * self.value(trial))


class Study:
    """The trials of the experiment in this folder, its objectives, and its space."""

    def __init__(self, directory: Path, tables: Tables) -> None:
        self.directory, self.tables, self.name = directory, tables, directory.name

    @cached_property
    def _plan(self) -> dict[str, Any]:
        return journal.plan(self.directory)

    @cached_property
    def objectives(self) -> dict[str, str]:
        """The direction by the metric."""
        first = self._plan["objective"]
        found = [first, *first.get("further", ())]
        return {one["metric"]: one["direction"] for one in found}

    @cached_property
    def space(self) -> dict[str, dict[str, Any]]:
        """The message `Domain` by the hyperparameter; empty where trials were listed."""
        return {one["name"]: one["domain"] for one in self._plan["source"].get("space", ())}

    @cached_property
    def hparams(self) -> list[str]:
        """In the space's order, then those that only trials have."""
        names = dict.fromkeys(self.space)
        names.update(dict.fromkeys(name for trial in self.trials for name in trial.hparams))
        return list(names)

    @cached_property
    def trials(self) -> list[Trial]:
        table = self.tables.query("select * from trials order by trial")
        rows = table.to_pylist()
        hparams = [json.loads(row["hparams"]) for row in rows]
        names = {*self.space, *(name for found in hparams for name in found)}
        # A hyperparameter whose name another column has stands under this one.
        taken = {f"hparam.{name}" if name in {*_OWN, "hparams"} else name for name in names}
        columns = {
            column.removeprefix("metric."): column
            for column in table.column_names
            if column not in {*_OWN, "hparams", *taken}
        }
        first = next(iter(self.objectives))
        trials = []
        for row, found in zip(rows, hparams, strict=True):
            metrics = {name: _number(row[column]) for name, column in columns.items()}
            metrics[first] = _number(row["value"])
            trials.append(Trial(row["trial"], row["state"], row["epochs"], found, metrics, row["error"]))
        return trials

    @property
    def failed(self) -> list[Trial]:
        return [trial for trial in self.trials if trial.state == "failed"]

    def target(self, metric: str | None) -> Target:
        """metric: None for the search's (first).

        Raises ConfigError if no trial has reported it, LetheError if it has no value in any trial.
        """
        if not self.trials:
            raise LetheError(f"{self.name} has no trial yet, so there is nothing to plot")
        chosen = next(iter(self.objectives)) if metric is None else metric
        known = dict.fromkeys([*self.objectives, *(name for trial in self.trials for name in trial.metrics)])
        if chosen not in known:
            raise ConfigError(f"there is no metric {chosen!r}; {self.name} has {', '.join(known)}")
        ran = [trial for trial in self.trials if trial.state != "failed"]
        valued = [trial for trial in ran if math.isfinite(trial.metrics.get(chosen, math.nan))]
        if not valued:
            first = next((trial.error for trial in self.failed if trial.error), None)
            why = f"; the first failed with: {first.splitlines()[0]}" if first else ""
            raise LetheError(
                f"no trial of {self.name} has a value of {chosen}, so there is nothing to plot{why}"
            )
        return Target(chosen, self.objectives.get(chosen), valued)

    def targets(self, metric: str | None) -> list[Target]:
        """All objectives that have a value, or this metric alone; raises as `target` does."""
        if metric is not None or len(self.objectives) == 1:
            return [self.target(metric)]
        found = []
        for name in self.objectives:
            try:
                found.append(self.target(name))
            except LetheError:
                if not found and name == list(self.objectives)[-1]:
                    raise
        return found


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
