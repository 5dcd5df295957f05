"""The trials that a live table shows, asked of the driver while the experiment runs."""

from __future__ import annotations

import threading
import time
from typing import Any

from lethe import flight
from lethe.flight import Peer

#: Trials at most.
ROWS = 12
#: Seconds between two questions, at least; and how many times as long as the answer to the last one took:
#: tables of very many trials are not the driver's main work.
EVERY = 1.0
SPARING = 20.0
#: Seconds that the last question may take.
LAST_WITHIN = 2.0

#: Running trials first, then the latest.
QUERY = f"""
    select * from trials where state <> 'waiting'
    order by case when state = 'running' then 0 else 1 end, trial desc limit {ROWS}
"""


class Rows:
    """Asks on a thread, which ends with `close`, or when the driver has gone."""

    def __init__(self, peer: Peer, experiment: str) -> None:
        self._peer, self._over = peer, threading.Event()
        self._ticket = {"type": "sql", "experiment": experiment, "query": QUERY}
        self._thread: threading.Thread | None = None
        #: The last answer: one dict a trial, by the columns of the table `trials`.
        self.found: list[dict[str, Any]] = []

    def start(self) -> None:
        """Begins to ask; a second time it does nothing."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._main, name="lethe-rows", daemon=True)
            self._thread.start()

    def _main(self) -> None:
        over = False
        while not over:
            # What is asked once it is over is the last state.
            over, began = self._over.is_set(), time.monotonic()
            try:
                self.found = self._peer.get(self._ticket).to_pylist()
            except flight.FAILED:
                # Whether the driver has gone is for the main thread to find.
                return
            if not over:
                self._over.wait(max(EVERY, SPARING * (time.monotonic() - began)))

    def close(self) -> None:
        """Waits, for a bounded time, for the last state."""
        self._over.set()
        if self._thread is not None:
            self._thread.join(LAST_WITHIN)
