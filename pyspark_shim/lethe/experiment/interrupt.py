"""SIGTERM while an experiment runs: it is cancelled and the process ends, not goes on with half a result."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from lethe.errors import Terminated


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """Raises Terminated in the main thread on SIGTERM; elsewhere signals cannot be had, and nothing is
    done."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def terminate(number: int, frame: FrameType | None) -> None:
        # A second one would break off the cancelling.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        # None: it was not set from Python, and cannot be from here.
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)
