"""Puts again what executors have lost, beside the experiment that needs it."""

from __future__ import annotations

import threading

from lethe import flight
from lethe.application.application import Application
from lethe.dataset.put import put_again, stored
from lethe.dataset.source import Source
from lethe.errors import ExperimentError
from lethe.session.base import Job


class Rebuild:
    """Runs on a thread of its own: trials whose data are there go on, and their modules are asked for. Spark
    gives its tasks the cores of slots that have left.

    anew: why all of it was put under another name, if it was.
    """

    def __init__(self, application: Application, source: Source) -> None:
        self._application, self._source = application, source
        self._done = threading.Event()
        self._lock = threading.Lock()
        self._job: Job | None = None
        self._cancelled = False
        self._error: Exception | None = None
        self.anew: str | None = None

    def start(self) -> Rebuild:
        threading.Thread(target=self._main, name="lethe-rebuild", daemon=True).start()
        return self

    def _main(self) -> None:
        try:
            self.anew = put_again(self._application, self._source, self._started)
            if self.anew is not None:
                self._application.stored.pop(self._source.name, None)
                self._source.renew()
                stored(self._application, self._source, self._started)
        except Exception as error:
            self._error = error
        finally:
            self._done.set()

    def _started(self, job: Job) -> None:
        with self._lock:
            self._job = job
            cancelled = self._cancelled
        if cancelled:
            job.cancel()

    def done(self) -> bool:
        return self._done.is_set()

    def result(self) -> str:
        """The name of the dataset, which is whole again.

        Raises what kept it from being put.
        """
        if isinstance(self._error, flight.FAILED):
            raise ExperimentError(
                f"lost partitions could not be put again: {flight.reason(self._error)}"
            ) from None
        if self._error is not None:
            raise self._error
        return self._source.name

    def cancel(self) -> None:
        with self._lock:
            self._cancelled = True
            job = self._job
        if job is not None and not job.done():
            job.cancel()
