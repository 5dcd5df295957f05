"""In a notebook: a table of trials that is updated in place, and becomes the result."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from lethe.progress.base import Progress
from lethe.progress.rows import Rows
from lethe.progress.standing import Standing
from lethe.result import markup, tables

if TYPE_CHECKING:
    from lethe.result.result import Result

#: Seconds between two drawings, at least.
EVERY = 0.5
#: Characters of a trial's error.
ERROR = 120


class Table(Progress):
    """A display of IPython; the running trials come first, then the latest.

    metrics: the names of the experiment's metrics. slots: how many it has asked for.
    """

    def __init__(self, standing: Standing, metrics: tuple[str, ...], slots: int, rows: Rows) -> None:
        super().__init__(standing)
        self._metrics, self._slots, self._rows = metrics, slots, rows
        self._display: Any = None
        self._next = 0.0

    def draw(self) -> None:
        now = time.monotonic()
        if self.standing.progress is not None and now >= self._next:
            self._next = now + EVERY
            self._rows.start()
            self._draw()

    def last(self) -> None:
        self._rows.close()
        if self.standing.progress is not None:
            self._draw()

    def result(self, result: Result) -> None:
        self._update(result._repr_html_(), result.summary())

    def _draw(self) -> None:
        self._update(self.page(), self.standing.line())

    def _update(self, page: str, text: str) -> None:
        from IPython.display import display

        bundle = {"text/html": page, "text/plain": text}
        if self._display is None:
            self._display = display(bundle, raw=True, display_id=True)
        else:
            self._display.update(bundle, raw=True)

    def page(self) -> str:
        """How it stands, as HTML."""
        return self._head() + self._trials()

    def _head(self) -> str:
        standing, found = self.standing, self.standing.progress or {}
        share = "" if standing.total is None else f'value="{standing.done}" max="{standing.total}"'
        of = "" if standing.total is None else f" of {standing.total}"
        slots = f"{found.get('slots', 0)} of {self._slots} slot{'s' if self._slots > 1 else ''}"
        words = [f"{standing.done}{of} {standing.unit}s", slots, *standing.counts(), *standing.pace()]
        best = standing.best()
        strong = "" if best is None else f" · <b>{markup.escape(best)}</b>"
        return (
            f"<div><b>{markup.escape(standing.name)}</b> <progress {share}></progress> "
            f"{markup.escape(' · '.join(words))}{strong}</div>"
        )

    def _trials(self) -> str:
        trials = self._rows.found
        if not trials:
            return ""
        hparams = [json.loads(trial["hparams"] or "{}") for trial in trials]
        names = list(dict.fromkeys(name for given in hparams for name in given))
        errors = [(trial["error"] or "").partition("\n")[0][:ERROR] for trial in trials]
        heads = ["trial", "state", "slot", "epochs", *self._metrics, *names, "error"]
        rows = [heads]
        for trial, given, error in zip(trials, hparams, errors, strict=True):
            row = [trial["trial"], trial["state"], trial["slot"], trial["epochs"], *self._values(trial)]
            row += [given.get(name) for name in names]
            rows.append([*map(tables.cell, row), error])
        if not any(errors):
            rows = [row[:-1] for row in rows]
        return markup.table(rows, left=(1, len(heads) - 1))

    def _values(self, trial: dict[str, Any]) -> list[Any]:
        """Of each metric, the trial's current value."""
        further = [trial.get(f"metric.{name}", trial.get(name)) for name in self._metrics[1:]]
        return [trial["value"], *further]
