"""An experiment as it is told by its tables: what began, what was reported, what ended, each once.

Its driver keeps the tables; nothing is read before it is wanted, so that a tracker that takes nothing costs
no memory here, and finds everything when it comes back.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from lethe.result.sql import Tables
from lethe.tracking.tracker import Report, Trial

#: Rows that are read at once.
PAGE = 10_000
#: Trials that are asked for at once.
TRIALS = 500
KINDS = "('started', 'assigned', 'trial_ended')"
COLUMNS = "trial, state, attempts, epochs, value, hparams, slot, error, why"
#: Milliseconds since 1970.
_AT = 'cast("at" as bigint)'
ENDED = ("finished", "stopped", "failed", "cancelled")


@dataclass(frozen=True)
class Began:
    """The experiment, at this time, milliseconds since 1970."""

    at: int


@dataclass(frozen=True)
class Started:
    trial: Trial


@dataclass(frozen=True)
class Reported:
    trial: int
    reports: Sequence[Report]


@dataclass(frozen=True)
class Ended:
    trial: Trial


Step = Began | Started | Reported | Ended


class Story:
    """Of one experiment, read on from where it was."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._events, self._rows = 0, 0
        #: Begun and not ended, and when.
        self._open: dict[int, int] = {}

    def read(self) -> Iterator[Step]:
        """What has happened since; nothing if nothing has.

        Raises LetheError if the tables cannot be read; what has not been yielded then comes later.
        """
        while events := self._page_of_events():
            yield from self._round(events)
            self._events = events[-1]["sequence"] + 1
        yield from self._reported()

    def rest(self) -> Iterator[Ended]:
        """Those that are open when the experiment is over: paused ones count as stopped; what ran when all
        was broken off is cancelled."""
        times = self._times(self._open)
        for trial in self._trials(self._open):
            state = trial.state if trial.state in ENDED else "cancelled"
            state = "stopped" if trial.state == "paused" else state
            yield self._end(replace(trial, state=state), times.get(trial.number, (0, None))[1])

    def _page_of_events(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._query(
            f'select sequence, {_AT} as "at", kind, trial from events '
            f"where sequence >= {self._events} and kind in {KINDS} order by sequence limit {PAGE}"
        ).to_pylist()
        return found

    def _round(self, events: list[dict[str, Any]]) -> Iterator[Step]:
        yield from (Began(event["at"]) for event in events if event["kind"] == "started")
        # A trial whose module could not be made was never assigned.
        began: dict[int, int] = {}
        ended: dict[int, int] = {}
        for event in events:
            if event["kind"] == "assigned":
                began.setdefault(event["trial"], event["at"])
                # One that was over goes on in an experiment that was given more.
                ended.pop(event["trial"], None)
            elif event["kind"] == "trial_ended":
                ended[event["trial"]] = event["at"]
        found = {trial.number: trial for trial in self._trials({**ended, **began})}
        for number, trial in found.items():
            if number in began or (number not in self._open and trial.state == "failed"):
                yield self._start(trial)
        # All that they reported is there by now.
        yield from self._reported()
        for number, at in ended.items():
            if number in self._open and number in found and found[number].state in ENDED:
                yield self._end(found[number], at)

    def _start(self, trial: Trial) -> Started:
        trial = replace(trial, began=self._open.setdefault(trial.number, trial.began))
        return Started(trial)

    def _end(self, trial: Trial, at: int | None) -> Ended:
        return Ended(replace(trial, began=self._open.pop(trial.number), ended=at or now()))

    def _reported(self) -> Iterator[Step]:
        while True:
            page = self._query(
                f'select trial, epoch, {_AT} as "at", metric, value from metrics '
                f"limit {PAGE} offset {self._rows}"
            )
            rows = page.num_rows
            columns = [page[name].to_pylist() for name in ("trial", "epoch", "at", "metric", "value")]
            reports: list[tuple[int, int, int, int, dict[str, float]]] = []
            for place, (trial, epoch, at, metric, value) in enumerate(zip(*columns, strict=True)):
                if not reports or reports[-1][1:3] != (trial, epoch):
                    reports.append((place, trial, epoch, at, {}))
                reports[-1][4][metric] = math.nan if value is None else value
            if rows == PAGE and len(reports) > 1:
                # The last one may go on in the next page.
                rows = reports.pop()[0]
            by_trial: dict[int, list[Report]] = {}
            for _, trial, epoch, at, metrics in reports:
                by_trial.setdefault(trial, []).append(Report(epoch, at, metrics))
            # Begun since the events were read.
            news = [trial for trial in by_trial if trial not in self._open]
            times = self._times(news)
            began = {trial: times.get(trial, (by_trial[trial][0].at, None))[0] for trial in news}
            for found in self._trials(began):
                yield self._start(found)
            for trial, those in by_trial.items():
                yield Reported(trial, those)
            self._rows += rows
            if page.num_rows < PAGE:
                return

    def _trials(self, times: dict[int, int]) -> Iterator[Trial]:
        """As they stand now; with the times at which they began."""
        for some in _lists(times):
            found = self._query(f"select {COLUMNS} from trials where trial in ({some}) order by trial")
            for row in found.to_pylist():
                number, hparams = row.pop("trial"), json.loads(row.pop("hparams"))
                yield Trial(number=number, hparams=hparams, began=times[number], **row)

    def _times(self, trials: Iterable[int]) -> dict[int, tuple[int, int | None]]:
        """When each began, and when it last ended, None where it runs."""
        found: dict[int, tuple[int, int | None]] = {}
        for some in _lists(trials):
            page = self._query(
                f"select trial, min({_AT}) filter (where kind = 'assigned') as began, "
                f"max({_AT}) filter (where kind = 'assigned') as again, "
                f"max({_AT}) filter (where kind <> 'assigned') as ended from events "
                f"where trial in ({some}) and kind in ('assigned', 'attempt_ended', 'trial_ended') "
                "group by trial"
            )
            for row in page.to_pylist():
                began, again, ended = row["began"] or row["ended"], row["again"] or 0, row["ended"]
                found[row["trial"]] = (began, None if ended is None or ended < again else ended)
        return found

    def _query(self, sql: str) -> pa.Table:
        return self._tables.query(sql)


def _lists(numbers: Iterable[int]) -> Iterator[str]:
    """For SQL, as many as go into one query."""
    found = sorted(numbers)
    for first in range(0, len(found), TRIALS):
        yield ", ".join(map(str, found[first : first + TRIALS]))


def now() -> int:
    """Milliseconds since 1970."""
    return int(time.time() * 1000)
