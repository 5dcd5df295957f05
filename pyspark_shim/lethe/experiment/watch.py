"""What happens in an experiment, from the driver, on a thread: the main thread stays open to signals."""

from __future__ import annotations

import queue
import threading
from typing import Any

from lethe import flight
from lethe.flight import Peer

#: Events that may wait for the main thread.
QUEUE = 10_000


class Watch:
    """The stream of `experiment.watch`. Its events are dicts with `type`; one of type `lost` ends it if the
    driver does not."""

    def __init__(self, peer: Peer, experiment: str) -> None:
        self._peer, self._experiment = peer, experiment
        self._events: queue.Queue[dict[str, Any]] = queue.Queue(QUEUE)
        threading.Thread(target=self._main, name="lethe-watch", daemon=True).start()

    def _main(self) -> None:
        try:
            for event in self._peer.stream("experiment.watch", {"experiment": self._experiment}):
                self._events.put(event)
                if event["type"] == "over":
                    return
            self._events.put({"type": "lost", "error": "the driver closed the stream"})
        except flight.FAILED as error:
            self._events.put({"type": "lost", "error": flight.reason(error)})
        except Exception as error:
            self._events.put({"type": "lost", "error": f"{type(error).__name__}: {error}"})

    def push(self, event: dict[str, Any]) -> None:
        """An event of this process's own, after those that are waiting."""
        self._events.put(event)

    def next(self, seconds: float) -> dict[str, Any] | None:
        """The next event, or None if none came in this time."""
        try:
            return self._events.get(timeout=seconds)
        except queue.Empty:
            return None
