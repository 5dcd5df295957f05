"""Asks the user's optimizer and predicates, on a thread of their own.

The main thread generates models and shows progress meanwhile, however long an answer takes. Questions and
news keep the driver's order.
"""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Callable, Mapping
from typing import Any

from lethe import flight
from lethe.contexts import Listing
from lethe.errors import ConfigError
from lethe.experiment.blame import raised
from lethe.flight import Peer
from lethe.optimizers.ask_tell import Optimizer, Trial
from lethe.search import Search

#: Seconds that the last news of a search that has ended by itself may take.
LAST_WITHIN = 10.0
#: Seconds that a thread gets to end whose search was broken off; in the user's code it may stay longer.
BROKEN_OFF_WITHIN = 0.5
EVENTS = ("ask", "check", "tell")


class Adviser:
    """One experiment's. `failed` is called, on its thread, when the user's code has raised; `error` is then
    what it raised."""

    def __init__(self, peer: Peer, experiment: str, search: Search) -> None:
        self._peer, self._experiment, self._search = peer, experiment, search
        self._optimizer = search.suggests if isinstance(search.suggests, Optimizer) else None
        self._events: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._closed = threading.Event()
        self._exhausted = False
        self._failed: Callable[[], None] = lambda: None
        self._thread = threading.Thread(target=self._main, name="lethe-adviser", daemon=True)
        self.error: BaseException | None = None
        self.text: str | None = None

    @staticmethod
    def of(peer: Peer, experiment: str, search: Search | Listing) -> Adviser | None:
        """None where there is nothing of the user's to ask."""
        if not isinstance(search, Search):
            return None
        needed = isinstance(search.suggests, Optimizer) or search.space.has_predicates
        return Adviser(peer, experiment, search) if needed else None

    def start(self, failed: Callable[[], None]) -> None:
        self._failed = failed
        self._thread.start()

    def put(self, event: dict[str, Any]) -> None:
        """An event of `EVENTS`; does not wait."""
        self._events.put(event)

    def close(self, *, completed: bool) -> None:
        """Ends the thread: after what is in its queue where the search has ended by itself, else at once."""
        if self._thread.ident is None:
            return
        if not completed:
            self._closed.set()
        self._events.put(None)
        self._thread.join(LAST_WITHIN if completed else BROKEN_OFF_WITHIN)
        self._closed.set()

    def _main(self) -> None:
        event: dict[str, Any] | None = None
        try:
            if self._optimizer is not None:
                self._optimizer.begin(self._search)
            while (event := self._events.get()) is not None and not self._closed.is_set():
                self._handle(event)
        except BaseException as error:
            # A SystemExit too: it would end this thread without a word.
            self._fail(event, error)

    def _handle(self, event: dict[str, Any]) -> None:
        trial = int(event["trial"])
        if event["type"] == "ask":
            hparams = self._ask(trial)
            found = {"type": "exhausted"} if hparams is None else {"type": "hparams", "hparams": hparams}
            self._answer("experiment.suggested", trial, {"result": found})
        elif event["type"] == "check":
            refused = self._search.space.refused(event["hparams"])
            self._answer("experiment.checked", trial, {"refused": refused})
        # A trial that the optimizer had no point for never was one.
        elif self._optimizer is not None and event["hparams"]:
            self._optimizer.tell(told(event))

    def _ask(self, trial: int) -> dict[str, Any] | None:
        assert self._optimizer is not None
        # Several trials may have been asked for ahead: None is the last answer, not one trial's.
        found = None if self._exhausted else self._optimizer.ask(trial)
        if found is None:
            self._exhausted = True
            return None
        try:
            return self._search.space.point(found, whole=True)
        except ValueError as error:
            shown = dict(found) if isinstance(found, Mapping) else found
            raise ConfigError(f"{self._optimizer.name}.ask({trial}) answered {shown!r}: {error}") from None

    def _answer(self, kind: str, trial: int, answer: dict[str, Any]) -> None:
        if self._closed.is_set():
            return
        try:
            self._peer.call(kind, {"experiment": self._experiment, "trial": trial, **answer})
        except flight.FAILED:
            # Where the driver has gone the watch ends, and says so.
            self._closed.set()

    def _fail(self, event: dict[str, Any] | None, error: BaseException) -> None:
        kind = "begin" if event is None else str(event["type"])
        who = (
            "the constraint"
            if kind == "check" or self._optimizer is None
            else f"{self._optimizer.name}.{kind}"
        )
        self.error = error
        self.text = str(error) if isinstance(error, ConfigError) else raised(who, error)
        # The journal is to say why the search ended.
        if event is not None and kind == "ask":
            failed = {"result": {"type": "failed", "error": self.text}}
            self._answer("experiment.suggested", event["trial"], failed)
        elif event is not None and kind == "check":
            self._answer("experiment.checked", event["trial"], {"refused": None, "error": self.text})
        if not self._closed.is_set():
            self._failed()


def told(event: dict[str, Any]) -> Trial:
    """The event `tell` as an optimizer gets it: where JSON has null a number is NaN."""
    history = {
        int(report["epoch"]): {name: _number(value) for name, value in report["metrics"].items()}
        for report in event["history"]
    }
    values = tuple(_number(value) for value in event["values"])
    return Trial(int(event["trial"]), dict(event["hparams"]), str(event["state"]), values, history)


def _number(value: float | None) -> float:
    return math.nan if value is None else value
