"""Where the slots' time went, stretch by stretch: from the table `events`, and the times in the journal."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lethe.errors import LetheError
from lethe.plot import journal

if TYPE_CHECKING:
    from lethe.result.sql import Tables

STARTING, LOADING, TRAINING, SAVING, LOST, IDLE = "starting", "loading", "training", "saving", "lost", "idle"
#: Of a slot that is ready, in the order in which it goes through them.
KINDS = (LOADING, TRAINING, SAVING, LOST, IDLE)
_EVENTS = {"started", "slot_joined", "slot_ready", "slot_left", "slot_lacks", "slot_failed", "ended"}


@dataclass(frozen=True)
class Stretch:
    """What a slot did for a while, seconds from the experiment's beginning.

    kind: "starting" (connected, and its worker is not yet ready), "loading" (from the attempt's arrival to
    its first step), "training" (to its last report: validating and waiting for decisions, too), "saving" (to
    the end's arrival at the driver: checkpoints, kept weights), "lost" (an attempt of which no times came:
    its worker died, or it is still running), "idle" (ready, and without an attempt).
    trial: whose attempt it is; None for "starting" and "idle".
    """

    slot: int
    kind: str
    begin: float
    end: float
    trial: int | None = None


@dataclass(frozen=True)
class Timeline:
    """seconds: from the beginning to the last record. Where the experiment was resumed, at the seconds
    `resumed`, the time in between is left out."""

    stretches: list[Stretch]
    seconds: float
    resumed: list[float]

    @property
    def slots(self) -> list[int]:
        return sorted({stretch.slot for stretch in self.stretches})

    @property
    def attempts(self) -> int:
        return sum(stretch.kind in (LOADING, LOST) for stretch in self.stretches)

    def shares(self, slot: int | None = None) -> dict[str, float]:
        """Of the time that all slots, or this one, were held, from when they were ready: by kind."""
        spent = dict.fromkeys(KINDS, 0.0)
        for stretch in self.stretches:
            if stretch.kind != STARTING and slot in (None, stretch.slot):
                spent[stretch.kind] += stretch.end - stretch.begin
        held = sum(spent.values())
        return {kind: seconds / held if held > 0 else 0.0 for kind, seconds in spent.items()}


@dataclass
class _Held:
    """A connection of a slot. Times in milliseconds since 1970."""

    number: int
    joined: int
    ready: int | None = None
    left: int | None = None
    #: By trial and attempt: when it ended, and its times.
    ended: dict[tuple[int, int], tuple[int, dict[str, float]]] = field(default_factory=dict)


@dataclass
class _Run:
    """What one driver did. begin, end: its first and last record."""

    begin: int
    end: int
    held: dict[int, _Held] = field(default_factory=dict)


def timeline(directory: Path, tables: Tables) -> Timeline:
    """Raises LetheError if no slot was ever held."""
    runs = _runs(directory)
    assigned = _assigned(tables)
    stretches: list[Stretch] = []
    resumed: list[float] = []
    before = 0.0
    for run in runs:
        if run is not runs[0]:
            resumed.append(before)
        for held in run.held.values():
            stretches += _stretches(held, run, before, assigned[held.number])
        before += (run.end - run.begin) / 1e3
    if not stretches:
        raise LetheError(f"{directory.name} has had no slot yet, so there is nothing to plot")
    return Timeline(stretches, before, resumed)


def _runs(directory: Path) -> list[_Run]:
    runs: list[_Run] = []
    for record in journal.records(directory, _EVENTS):
        at = record.get("at")
        if at is None:
            continue
        if "resumed" in record and runs:
            runs[-1].end = record["before"]
        if "resumed" in record or not runs:
            runs.append(_Run(at, at))
        runs[-1].end = max(at, runs[-1].end)
        if "event" in record:
            _event(at, record["event"], runs[-1].held)
    return runs


def _event(at: int, event: dict[str, Any], held: dict[int, _Held]) -> None:
    if event["type"] == "slot_joined":
        held[event["slot"]] = _Held(event["number"], at)
        return
    one = held.get(event.get("slot", -1))
    if one is None:
        return
    if event["type"] == "slot_ready" and one.ready is None:
        one.ready = at
    elif event["type"] in ("slot_left", "slot_lacks", "slot_failed") and one.left is None:
        one.left = at
    elif event["type"] == "ended":
        one.ended.setdefault((event["trial"], event["attempt"]), (at, event["timing"]))


def _assigned(tables: Tables) -> dict[int, list[tuple[int, int, int]]]:
    """By the slot's number: when, trial, attempt; in order."""
    rows = tables.query(
        "select slot, cast(at as bigint) as at, trial, attempt from events where kind = 'assigned' "
        "order by sequence"
    )
    found: dict[int, list[tuple[int, int, int]]] = defaultdict(list)
    for row in rows.to_pylist():
        found[row["slot"]].append((row["at"], row["trial"], row["attempt"]))
    return found


def _stretches(
    held: _Held, run: _Run, before: float, assigned: Iterable[tuple[int, int, int]]
) -> Iterator[Stretch]:
    """before: seconds of the runs before this one."""

    def stretch(kind: str, begin: float, end: float, trial: int | None = None) -> Iterator[Stretch]:
        if end > begin:
            offset = before - run.begin / 1e3
            yield Stretch(held.number, kind, begin + offset, end + offset, trial)

    left = (held.left or run.end) / 1e3
    free = (held.ready or held.left or run.end) / 1e3
    yield from stretch(STARTING, held.joined / 1e3, free)
    for at, trial, attempt in assigned:
        begin = at / 1e3
        if not held.joined / 1e3 <= begin <= left:
            continue
        yield from stretch(IDLE, free, begin)
        ended, timing = held.ended.get((trial, attempt), (None, {}))
        free = left if ended is None else ended / 1e3
        setup, train = timing.get("setup_s", 0.0), timing.get("train_s", 0.0)
        if setup + train <= 0:
            yield from stretch(LOST, begin, free, trial)
            continue
        loaded = min(begin + setup, free)
        trained = min(loaded + train, free)
        yield from stretch(LOADING, begin, loaded, trial)
        yield from stretch(TRAINING, loaded, trained, trial)
        yield from stretch(SAVING, trained, free, trial)
    yield from stretch(IDLE, free, left)
