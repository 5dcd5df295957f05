"""A session with its SparkContext in this process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from lethe.errors import LetheError
from lethe.session.base import Session

#: Seconds that executors may take to register before what is there is taken.
REGISTERED_WITHIN = 30.0
#: Seconds without a new one after which all are taken to be there.
SETTLED_AFTER = 1.0


class ClassicSession(Session):
    @property
    def _context(self) -> Any:
        return self.spark.sparkContext

    @property
    def key(self) -> str:
        return f"classic-{self._context.applicationId}"

    def alive(self) -> bool:
        return getattr(self.spark, "_sc", None) is not None and self.spark._sc._jsc is not None

    def driver_host(self) -> str:
        return str(self._context.getConf().get("spark.driver.host", "127.0.0.1")).strip("[]")

    def driver_bind(self) -> str | None:
        found = self._context.getConf().get("spark.driver.bindAddress", None)
        return None if found is None else str(found)

    def slots(self) -> int:
        scheduler = self._context._jsc.sc()
        profile = scheduler.resourceProfileManager().defaultResourceProfile()

        def count() -> int:
            return int(scheduler.maxNumConcurrentTasks(profile))

        if self._is_local():
            return max(1, count())
        wanted = int(self._context.getConf().get("spark.executor.instances", "0"))
        found, since, start = count(), time.monotonic(), time.monotonic()
        while time.monotonic() - start < REGISTERED_WITHIN:
            registered = scheduler.getExecutorMemoryStatus().size() - 1
            settled = found > 0 and time.monotonic() - since >= SETTLED_AFTER
            if registered >= wanted and settled:
                break
            time.sleep(0.1)
            now = count()
            if now != found:
                found, since = now, time.monotonic()
        if found < 1:
            raise LetheError(
                f"no Spark executor has registered within {REGISTERED_WITHIN:.0f} s; "
                "does the cluster have free cores, or does another application hold them?"
            )
        return found

    def local_interpreter(self) -> str | None:
        return str(self._context.pythonExec) if self._is_local() else None

    def _is_local(self) -> bool:
        master = str(self._context.master)
        return master.startswith("local") and not master.startswith("local-cluster")

    def thread(self, target: Callable[[], None]) -> threading.Thread:
        from pyspark import InheritableThread

        thread: threading.Thread = InheritableThread(target=target)
        return thread

    def mark(self, group: str, description: str) -> None:
        # A tag, not a job group: that is the user's, and who cancels it, as the servers of notebooks do for a
        # cell, cancels these jobs too.
        self._context.addJobTag(group)
        self._context.setJobDescription(description)

    def cancel(self, group: str) -> None:
        self._context.cancelJobsWithTag(group)
