"""Reports and printed text on their way to the executor, sent together by a thread of their own."""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from typing import Any

from lethe.worker.exchange import REPORTS, TEXT, Exchange
from lethe.worker.prints import Printed

#: Reports that may wait; a function that makes more waits for them to be sent.
WAITING = 50_000
#: Of one message, characters.
MESSAGE = 500_000
#: What comes within this time is sent together, seconds.
TOGETHER = 0.002

Values = dict[str, float | None]


class Outbox:
    """Of one attempt. speaks: what is printed goes to the trial's log too; else it is in the worker's own log
    alone."""

    def __init__(
        self, exchange: Exchange, printed: Printed, trial: int, attempt: int, speaks: bool = True
    ) -> None:
        self._exchange, self._printed, self._speaks = exchange, printed, speaks
        self._head = {"trial": trial, "attempt": attempt}
        self._reports: list[tuple[int, Values]] = []
        self._sending = threading.Lock()
        self._something = threading.Event()
        self._closed = False
        if speaks:
            printed.wake = self._something.set
        self._thread = threading.Thread(target=self._run, name="lethe-outbox", daemon=True)
        self._thread.start()

    def add(self, epoch: int, values: Values) -> None:
        # A list's append is atomic; the lock is for who sends.
        self._reports.append((epoch, values))
        if not self._something.is_set():
            self._something.set()
        if len(self._reports) > WAITING:
            self.flush()

    def flush(self) -> None:
        """Sends all that there is."""
        with self._sending:
            # What is appended meanwhile is behind these.
            count = len(self._reports)
            taken, self._reports[:count] = self._reports[:count], []
            together = _together(taken)
            for start in range(0, count, together):
                some = taken[start : start + together]
                reports = [{"epoch": epoch, "metrics": values} for epoch, values in some]
                self._send({"type": "reports", "reports": reports})
            text = self._printed.take() if self._speaks else ""
            for start in range(0, len(text), TEXT):
                self._send({"type": "log", "text": text[start : start + TEXT]})

    def close(self) -> None:
        """Sends all, and is done."""
        self._closed = True
        self._printed.wake = lambda: None
        self._something.set()
        self._thread.join()
        self.flush()
        # Of a worker that does not speak.
        self._printed.take()

    def _send(self, message: dict[str, Any]) -> None:
        self._exchange.send({**message, **self._head})

    def _run(self) -> None:
        try:
            while not self._closed:
                self._something.wait()
                self._something.clear()
                time.sleep(TOGETHER)
                self.flush()
        except BaseException:
            traceback.print_exc(file=sys.__stderr__)
            # Without it nobody would hear of this trial any more.
            os._exit(1)


def _together(reports: list[tuple[int, Values]]) -> int:
    """How many make one message of bounded size."""
    longest = max((sum(len(name) + 30 for name in values) for _, values in reports), default=0)
    return max(1, min(REPORTS, MESSAGE // (longest + 50)))
