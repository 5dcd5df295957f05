"""SIGTERM while an experiment runs: it is cancelled and the process ends, not goes on with half a result."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from lethe.errors import Terminated


def _of_a_stopped_session(handler: object) -> bool:
    """Whether it is the handler that a stopped SparkContext leaves, which raises AttributeError in place of
    KeyboardInterrupt."""
    if getattr(handler, "__module__", None) not in ("pyspark.context", "pyspark.core.context"):
        return False
    from pyspark import SparkContext

    return SparkContext._active_spark_context is None


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
    interrupt = signal.getsignal(signal.SIGINT)
    if _of_a_stopped_session(interrupt):
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        if interrupt is not None:
            signal.signal(signal.SIGINT, interrupt)
        # None: it was not set from Python, and cannot be from here.
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)
