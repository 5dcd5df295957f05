"""What Lethe needs of a Spark session."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


class Session(ABC):
    """A Spark session."""

    def __init__(self, spark: SparkSession) -> None:
        self.spark = spark

    @property
    @abstractmethod
    def key(self) -> str:
        """Tells sessions apart within this process: one application each."""

    @abstractmethod
    def alive(self) -> bool:
        """Whether it has not been stopped."""

    @abstractmethod
    def driver_host(self) -> str:
        """The address by which executors reach this process."""

    @abstractmethod
    def driver_bind(self) -> str | None:
        """The address to listen on, if it is another."""

    @abstractmethod
    def slots(self) -> int:
        """How many tasks can run at once."""

    @abstractmethod
    def local_interpreter(self) -> str | None:
        """The interpreter of the tasks, if they run on this host."""

    @abstractmethod
    def thread(self, target: Callable[[], None]) -> threading.Thread:
        """A thread that may run jobs of this session."""

    @abstractmethod
    def mark(self, group: str, description: str) -> None:
        """Marks the jobs that the current thread will run, for `cancel`."""

    @abstractmethod
    def cancel(self, group: str) -> None:
        """Cancels the marked jobs; their tasks end within seconds."""


class Job:
    """A Spark job on a thread of its own, so that Ctrl-C reaches the main thread."""

    def __init__(self, session: Session, group: str, description: str, run: Callable[[], list[Any]]) -> None:
        self._session, self._group, self._description, self._run = session, group, description, run
        self._done = threading.Event()
        self._thread = session.thread(self._main)
        self._thread.daemon = True
        self.rows: list[Any] = []
        self.error: Exception | None = None

    def start(self) -> Job:
        self._thread.start()
        return self

    def _main(self) -> None:
        try:
            self._session.mark(self._group, self._description)
            self.rows = self._run()
        except Exception as error:
            self.error = error
        finally:
            self._done.set()

    def done(self) -> bool:
        return self._done.is_set()

    def wait(self, seconds: float) -> bool:
        return self._done.wait(seconds)

    def cancel(self) -> None:
        """Cancels it. A session that has been stopped meanwhile has no job left to cancel."""
        try:
            self._session.cancel(self._group)
        except Exception as error:
            if self._session.alive():
                raise error from None

    def result(self) -> list[Any]:
        """Waits for the job's rows; cancels it when the wait is interrupted.

        Raises what the job raised.
        """
        try:
            # In short waits: a wait for ever would not let signals through on every platform.
            while not self._done.wait(0.5):
                pass
        except BaseException:
            self.cancel()
            raise
        if self.error is not None:
            raise self.error
        return self.rows
