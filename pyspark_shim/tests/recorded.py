"""Experiments' folders as docs/journal.md describes them, which the driver's own program reads."""

import json
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lethe.version import PROTOCOL

#: Milliseconds since 1970.
START = 1_764_000_000_000


@dataclass
class Ran:
    """One attempt of a trial.

    metrics: of each epoch. times: seconds of loading and training.
    """

    hparams: dict[str, Any]
    metrics: list[dict[str, float | None]]
    outcome: dict[str, Any] = field(default_factory=lambda: {"type": "finished"})
    times: tuple[float, float] = (0.2, 0.7)


class Recording:
    """Writes the journal of a search, trial after trial on `slots` slots, each with `seconds` of time."""

    def __init__(
        self, folder: Path, space: dict[str, dict[str, Any]], objectives: dict[str, str], slots: int = 1
    ) -> None:
        folder.mkdir(parents=True)
        #: Written in the order of their times, by `write`.
        self._events: list[tuple[int, dict[str, Any]]] = []
        self._file = (folder / "journal.log").open("wb")
        (metric, direction), *further = objectives.items()
        self.plan = {
            "protocol": PROTOCOL,
            "version": "0.1.0",
            "experiment": folder.name,
            "seed": 1,
            "source": {
                "type": "search",
                "space": [{"name": name, "domain": domain} for name, domain in space.items()],
                "budget": {"trials": 100_000},
                "optimizer": {"type": "random"},
                "stopping": {"type": "none"},
            },
            "objective": {
                "metric": metric,
                "direction": direction,
                "select": "last",
                "further": [{"metric": name, "direction": way} for name, way in further],
            },
            "function": {"type": "registered", "name": "sleep", "epochs": 100},
            "data": None,
            "slots": slots,
            "directory": str(folder),
            "retries": {"infrastructure": 3, "exceptions": 0},
        }
        self.slots = slots
        self.now = [START] * slots
        self._write({"lethe": "journal", "format": 1, "version": "0.1.0", "plan": self.plan})
        self.event(START, {"type": "started"})

    def _write(self, record: dict[str, Any]) -> None:
        text = json.dumps(record, separators=(",", ":")).encode()
        self._file.write(b"%08x %s\n" % (zlib.crc32(text), text))
        self._file.flush()

    def event(self, at: int, event: dict[str, Any]) -> None:
        self._events.append((at, event))

    def write(self) -> None:
        """What has happened so far."""
        for at, event in sorted(self._events, key=lambda happened: happened[0]):
            self._write({"at": at, "event": event})
        self._events.clear()

    def join(self, key: int, number: int, starting: int = 100) -> None:
        at = self.now[number]
        self.event(at, {"type": "slot_joined", "slot": key, "number": number})
        worker = {"executor": "e", "worker_pid": 7, "device": "cpu"}
        self.now[number] = at + starting
        self.event(at + starting, {"type": "slot_worker", "slot": key, **worker})
        self.event(at + starting, {"type": "slot_ready", "slot": key})

    def suggest(self, trial: int, hparams: dict[str, Any], at: int) -> None:
        self.event(at, {"type": "suggested", "trial": trial, "hparams": hparams, "why": "random"})

    def report(
        self, slot: int, trial: int, epoch: int, metrics: dict[str, float | None], **more: Any
    ) -> None:
        fields = {"slot": slot, "trial": trial, "attempt": 1, "epoch": epoch, "metrics": metrics, **more}
        self.event(self.now[slot % self.slots], {"type": "report", **fields})

    def run(self, trials: list[Ran]) -> None:
        """Trials from 0, each on the slot that is free first. Loading and training take what they say, and a
        tenth of a second goes by until the driver knows."""
        ahead, freed = 8, list(range(self.slots))
        for number, ran in enumerate(trials[:ahead]):
            self.suggest(number, ran.hparams, START)
        for slot in range(self.slots):
            self.join(slot, slot)
        for number, ran in enumerate(trials):
            if number + ahead < len(trials):
                self.suggest(number + ahead, trials[number + ahead].hparams, min(self.now))
            slot = min(range(self.slots), key=lambda one: (self.now[one], freed[one]))
            freed[slot] = self.slots + number
            loading, training = ran.times
            begin = self.now[slot] + 1000 * loading
            for epoch, metrics in enumerate(ran.metrics, 1):
                self.now[slot] = int(begin + 1000 * training * epoch / len(ran.metrics))
                self.report(slot, number, epoch, metrics)
            self.now[slot] = int(begin + 1000 * training) + 100
            timing = {"idle_s": 0.0, "setup_s": loading, "train_s": training}
            ended = {"slot": slot, "trial": number, "attempt": 1, "outcome": ran.outcome, "timing": timing}
            self.event(self.now[slot], {"type": "ended", **ended})
        self.write()

    def resume(self, at: int) -> None:
        self._write({"at": at, "resumed": {"plan": self.plan}})
        self.now = [at] * self.slots
