"""Collectives that wait for a rank which has ended, for ever: they are broken off."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

#: Between two looks, seconds.
EVERY = 0.5
#: Ranks that come to the same end do so within this, seconds.
PATIENCE = 4.0


class Watch:
    """Looks from a thread of its own until `end`.

    reason: why the collectives of this rank are in vain, None as long as they are not. abort: breaks them
        off.
    """

    def __init__(self, reason: Callable[[], str | None], abort: Callable[[str], None]) -> None:
        self._reason, self._abort = reason, abort
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, name="lethe-gang", daemon=True)
        self._thread.start()

    def _look(self) -> None:
        since: float | None = None
        while not self._ended.wait(EVERY):
            reason = self._reason()
            since = None if reason is None else since or time.monotonic()
            if reason is not None and since is not None and time.monotonic() - since >= PATIENCE:
                self._abort(reason)
                return

    def end(self) -> None:
        self._ended.set()
        self._thread.join()
