"""`lethe.Result`: the best trial, all trials, and the best model. It needs no running process."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from lethe.errors import LetheError
from lethe.result import tables

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

#: Trials in the table at the end.
SHOWN = 5


@dataclass(frozen=True)
class Best:
    """The best trial.

    value: of the search's metric, by its `select`; metrics: those of the same moment; epochs: how many it
    ran.
    """

    trial: int
    value: float
    hparams: dict[str, Any]
    metrics: dict[str, float]
    epochs: int


class Result:
    """What an experiment came to.

    name, directory: the experiment's name, and its folder on this host.
    interrupted: whether it was broken off; the trials are then those that there were.
    reason: why, if so.
    best_model_path: the best trial's module with its trained weights, as TorchScript; None if no trial has
    any. wall_s: seconds from the first assignment to the last result.
    """

    def __init__(
        self,
        message: dict[str, Any],
        *,
        metric: str,
        direction: str,
        directory: str,
        model: Callable[[], nn.Module] | None,
        best_model_path: str | None,
    ) -> None:
        self._message, self._model = message, model
        self.name = str(message["experiment"])
        self.metric, self.direction, self.directory = metric, direction, directory
        self.best_model_path = best_model_path
        end = message["end"] or {"type": "cancelled", "reason": "the experiment has not ended"}
        self.interrupted = end["type"] == "cancelled"
        self.reason: str | None = end.get("reason")
        self.wall_s = float(message["wall_s"])

    @cached_property
    def best(self) -> Best | None:
        """None if no trial has a value."""
        for trial in self._message["trials"]:
            if trial["trial"] == self._message["best"] and trial["value"] is not None:
                metrics = {name: tables.number(value) for name, value in trial["metrics"].items()}
                return Best(trial["trial"], trial["value"], dict(trial["hparams"]), metrics, trial["epochs"])
        return None

    @cached_property
    def trials(self) -> pd.DataFrame:
        return tables.trials(self._message)

    @cached_property
    def slots(self) -> pd.DataFrame:
        return tables.slots(self._message)

    @cached_property
    def history(self) -> pd.DataFrame:
        """One row for each epoch of each trial."""
        return tables.history(self._message)

    @property
    def training_share(self) -> float | None:
        """The share of the slots' time that was spent training."""
        return tables.training_share(self._message)

    def best_model(self) -> nn.Module:
        """The best trial's module with its trained weights, in evaluation mode, newly made at each call.

        Raises LetheError if no trial kept weights.
        """
        if self._model is None:
            raise LetheError(
                "no trial kept weights, so there is no best model; see result.trials for their errors"
            )
        return self._model()

    def summary(self) -> str:
        """The best trials, where the time went, and the path of the best model."""
        states = [trial["state"] for trial in self._message["trials"]]
        counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
        head = f"{self.name}: {len(states)} trials ({counts}) in {self.wall_s:.1f} s"
        lines = [head + (f", interrupted: {self.reason}" if self.interrupted else "")]
        if ranked := self._ranked():
            lines.append(self._table(ranked[:SHOWN]))
        elif failed := [trial["error"] for trial in self._message["trials"] if trial["error"]]:
            lines.append(f"no trial has a value; the first failed with: {failed[0].splitlines()[0]}")
        training, loading = self.training_share, tables.loading_share(self._message)
        if training is not None and loading is not None:
            slots = len(self._message["slots"])
            lines.append(
                f"training took {training:.1%} of the time of {slots} slot{'s' if slots > 1 else ''}, "
                f"loading models {loading:.1%}, waiting {max(0.0, 1 - training - loading):.1%}"
            )
        if self.best_model_path is not None:
            near = os.path.relpath(self.best_model_path)
            lines.append(f"best model: {self.best_model_path if near.startswith('..') else near}")
        return "\n".join(lines)

    def _ranked(self) -> list[dict[str, Any]]:
        """Trials with a value, best first; of equals the earlier."""
        valued = [trial for trial in self._message["trials"] if trial["value"] is not None]
        sign = -1 if self.direction == "max" else 1
        return sorted(valued, key=lambda trial: (sign * trial["value"], trial["trial"]))

    def _table(self, ranked: list[dict[str, Any]]) -> str:
        hparams = list(ranked[0]["hparams"])
        others = [name for name in ranked[0]["metrics"] if name != self.metric]
        rows = [["trial", "state", self.metric, "epochs", *hparams, *others]]
        for trial in ranked:
            row = [trial["trial"], trial["state"], trial["value"], trial["epochs"]]
            row += [trial["hparams"].get(name) for name in hparams]
            row += [trial["metrics"].get(name) for name in others]
            rows.append([tables.cell(value) for value in row])
        return tables.text(rows, left=(1,))

    def __str__(self) -> str:
        return self.summary()

    def __repr__(self) -> str:
        best = self.best
        found = (
            "no best trial" if best is None else f"best {self.metric}={best.value:.4g} (trial {best.trial})"
        )
        return f"Result({self.name}: {len(self._message['trials'])} trials, {found})"
