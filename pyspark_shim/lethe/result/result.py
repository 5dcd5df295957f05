"""`lethe.Result`: the best trial, or the Pareto front, all trials, and the best model. It needs no running
process."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lethe.errors import LetheError
from lethe.result import markup, tables
from lethe.result.sql import Tables

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

    from lethe.ablation.report import AblationTable
    from lethe.dataset.preprocessing import Preprocessing
    from lethe.plot.plots import Plots
    from lethe.result.model import TrainedModel
    from lethe.saved.training import Training

#: Trials in the table at the end.
SHOWN = 5
SHOWN_FRONT = 10
#: Lines of an error there.
ERROR_LINES = 20


@dataclass(frozen=True)
class Best:
    """The best trial, or one of the Pareto front.

    value: of the search's (first) metric, by its `select`; metrics: those of the same moment; epochs: how
    many it ran; values: of each of the search's metrics, by its name.
    """

    trial: int
    value: float
    hparams: dict[str, Any]
    metrics: dict[str, float]
    epochs: int
    values: dict[str, float] = field(default_factory=dict)


class Result:
    """What an experiment came to.

    name, directory: the experiment's name, and its folder on this host.
    interrupted: whether it was broken off; the trials are then those that there were.
    reason: why, if so.
    metric, direction: of the search, the first of several; objectives: all, the direction by the metric.
    best_model_path: the best trial's module with its trained weights, as TorchScript; None if no trial has
    any. preprocessing: what raw rows need before that model gets them (also "preprocessing.json" beside it);
    None if nothing. ablation: of an ablation study, what each component is worth: a table, with `chart()`.
    wall_s: seconds from the first assignment to the last result.
    """

    def __init__(
        self,
        message: dict[str, Any],
        *,
        objectives: dict[str, str],
        directory: str,
        tables: Tables,
        model: TrainedModel | None,
        best_model_path: str | None,
        preprocessing: Preprocessing | None = None,
        ablation: AblationTable | None = None,
        training: Training | None = None,
    ) -> None:
        self._message, self._model, self._tables = message, model, tables
        self._training = training
        self.name = str(message["experiment"])
        self.objectives, self.directory = dict(objectives), directory
        self.metric, self.direction = next(iter(objectives.items()))
        self.best_model_path, self.preprocessing = best_model_path, preprocessing
        self.ablation = ablation
        end = message["end"] or {"type": "cancelled", "reason": "the experiment has not ended"}
        self.interrupted = end["type"] == "cancelled"
        self.reason: str | None = end.get("reason")
        self.wall_s = float(message["wall_s"])

    @cached_property
    def best(self) -> Best | None:
        """By the (first) metric; None if no trial has a value."""
        for trial in self._message["trials"]:
            if trial["trial"] == self._message["best"] and trial["value"] is not None:
                return self._best(trial)
        return None

    @cached_property
    def pareto(self) -> list[Best]:
        """The trials that no other is better than in all metrics, by their values in the first; of a search
        for one metric the best trial."""
        if len(self.objectives) == 1:
            return [] if self.best is None else [self.best]
        return [self._best(trial) for trial in self._front]

    @cached_property
    def _front(self) -> list[dict[str, Any]]:
        """Empty where there is one metric."""
        front = set(self._message.get("pareto", ()))
        return [trial for trial in self._ranked if trial["trial"] in front]

    def _best(self, trial: dict[str, Any]) -> Best:
        metrics = {name: tables.number(value) for name, value in trial["metrics"].items()}
        found = [trial["value"], *trial.get("further", ())]
        values = dict(zip(self.objectives, map(tables.number, found), strict=False))
        return Best(trial["trial"], trial["value"], dict(trial["hparams"]), metrics, trial["epochs"], values)

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
    def plot(self) -> Plots:
        """Figures: `result.plot.history()`, and others; see `lethe.plot.plots.Plots`."""
        from lethe.plot.plots import Plots

        return Plots(Path(self.directory), self._tables, self.ablation)

    @property
    def training_share(self) -> float | None:
        """The share of the slots' time that was spent training."""
        return tables.training_share(self._message)

    def sql(self, query: str) -> pd.DataFrame:
        """What a SELECT in DataFusion's SQL finds in the tables `trials`, `metrics` (one row for each metric
        of each report), `slots` and `events` (one row a decision).

        Raises LetheError, which says what is wrong with the query.
        """
        frame: pd.DataFrame = self._tables.query(query).to_pandas()
        return frame

    def best_model(self) -> nn.Module:
        """The best trial's module with its trained weights, in evaluation mode, newly made at each call.

        Raises LetheError if no trial kept weights.
        """
        return self._trained()()

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        task: str | None = None,
        overwrite: bool = False,
        store_options: Mapping[str, str] | None = None,
    ) -> str:
        """Saves the best model with all that it takes to use it, for `lethe.load`; returns where it lies.

            result.save("s3://models/flats")
            lethe.load("s3://models/flats").predict(df)

        path: a folder, which is made where it is not there, or a URL of an object store. Whoever reads it
            meanwhile finds the whole model or none.
        task: what its outputs mean, where neither a named loss nor the label tells it: "classification"
            (logits `[rows, classes]`), "binary" (a logit a row), "regression" (a number a row) or "output".
        overwrite: replaces the model that lies there.
        store_options: of the store, as in `lagom`. Written nowhere.

        Raises LetheError if no trial kept weights, there is a model already, or it cannot be written.
        """
        from lethe.saved.save import save

        trained, best = self._trained(), self._message["best"]
        assert self._training is not None
        trial = next(trial for trial in self._message["trials"] if trial["trial"] == best)
        return save(
            path, trained, self._training, trial, task=task, overwrite=overwrite, store_options=store_options
        )

    def _trained(self) -> TrainedModel:
        if self._model is None:
            raise LetheError(
                "no trial kept weights, so there is no best model; see result.trials for their errors"
            )
        return self._model

    def summary(self) -> str:
        """The best trials, or the Pareto front, where the time went, and the path of the best model."""
        lines = [self._head()]
        if self.ablation is not None:
            lines.append(repr(self.ablation))
        elif trials := self._shown():
            lines += [*self._front_line(), tables.text(self._cells(trials), left=(1,))]
        elif error := self._first_error():
            lines.append(f"no trial has a value; the first failed with: {error}")
        return "\n".join([*lines, *self._foot()])

    def _repr_html_(self) -> str:
        """The same for notebooks."""
        parts = [f"<p><b>{markup.escape(self._head())}</b></p>"]
        if self.ablation is not None:
            parts.append(self.ablation._repr_html_())
        elif trials := self._shown():
            front = "".join(self._front_line())
            parts.append(markup.table(self._cells(trials), left=(1,), caption=front))
        elif error := self._first_error():
            from lethe.notebook.error import by_cells

            parts.append("<p>no trial has a value; the first failed with:</p>")
            parts.append(f"<pre>{markup.escape(by_cells(error))}</pre>")
        foot = "<br>".join(markup.escape(line) for line in self._foot())
        return "\n".join([*parts, *([f"<p>{foot}</p>"] if foot else [])])

    def _head(self) -> str:
        states = [trial["state"] for trial in self._message["trials"]]
        counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
        trials = "1 trial" if len(states) == 1 else f"{len(states)} trials"
        head = f"{self.name}: {trials} ({counts}) in {self.wall_s:.1f} s"
        return head + (f", interrupted: {self.reason}" if self.interrupted else "")

    def _shown(self) -> list[dict[str, Any]]:
        """The best trials, or of several objectives the Pareto front, or as much of it."""
        return _spread(self._front, SHOWN_FRONT) if self._front else self._ranked[:SHOWN]

    def _front_line(self) -> list[str]:
        if not self._front:
            return []
        shown = f", {SHOWN_FRONT} of them shown" if len(self._front) > SHOWN_FRONT else ""
        return [f"Pareto front of {', '.join(self.objectives)}: {len(self._front)} trials{shown}"]

    def _first_error(self) -> str:
        """Of the first trial that has one: what happened, and where."""
        found = next((trial["error"] for trial in self._message["trials"] if trial["error"]), "")
        return "\n".join(found.splitlines()[:ERROR_LINES])

    def _foot(self) -> list[str]:
        """Where the time went, and the path of the best model."""
        lines = []
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
        return lines

    @cached_property
    def _ranked(self) -> list[dict[str, Any]]:
        """Trials with a value, best first; of equals the earlier."""
        valued = [trial for trial in self._message["trials"] if trial["value"] is not None]
        sign = -1 if self.direction == "max" else 1
        return sorted(valued, key=lambda trial: (sign * trial["value"], trial["trial"]))

    def _cells(self, ranked: list[dict[str, Any]]) -> list[list[str]]:
        """The heading, then a row for each of these trials."""
        # Those that only some of the trials have, too.
        hparams = list(dict.fromkeys(name for trial in ranked for name in trial["hparams"]))
        others = [name for name in ranked[0]["metrics"] if name not in self.objectives]
        rows = [["trial", "state", *self.objectives, "epochs", *hparams, *others]]
        for trial in ranked:
            values = [trial["value"], *trial.get("further", ())]
            values += [None] * (len(self.objectives) - len(values))
            row = [trial["trial"], trial["state"], *values, trial["epochs"]]
            row += [trial["hparams"].get(name) for name in hparams]
            row += [trial["metrics"].get(name) for name in others]
            rows.append([tables.cell(value) for value in row])
        return rows

    def __str__(self) -> str:
        return self.summary()

    def __repr__(self) -> str:
        best = self.best
        found = (
            "no best trial" if best is None else f"best {self.metric}={best.value:.4g} (trial {best.trial})"
        )
        return f"Result({self.name}: {len(self._message['trials'])} trials, {found})"


def _spread(front: list[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    """At most so many, evenly from one end of the front to the other."""
    if len(front) <= most:
        return front
    return [front[round(place * (len(front) - 1) / (most - 1))] for place in range(most)]
