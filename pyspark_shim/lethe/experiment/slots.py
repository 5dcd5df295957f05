"""The slots of an experiment: tasks of a Spark job, or threads where there is no Spark."""

from __future__ import annotations

import os
import secrets
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable

from lethe.application.application import Application
from lethe.errors import ExperimentError, InstallError
from lethe.session.base import Job, Session
from lethe.session.failure import explain
from lethe.task.slot import SCHEMA, hold_slot, slot_task

#: How often the slots' job is submitted again that Spark has aborted.
RETRIES = 5
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 10.0


class Slots(ABC):
    """The slots of one experiment."""

    @abstractmethod
    def start(self) -> None:
        """Starts to fill them; does not wait."""

    @abstractmethod
    def check(self, notice: Callable[[str], None]) -> None:
        """To be called while the experiment runs: fills lost slots again.

        Raises ExperimentError or InstallError if there is no slot and there will be none.
        """

    @abstractmethod
    def finish(self, seconds: float) -> bool:
        """Waits until all slots have been released; False if some have not in this time."""

    @abstractmethod
    def cancel(self) -> None:
        """Ends them now."""


class SparkSlots(Slots):
    """One task a slot, in one job."""

    def __init__(self, application: Application, session: Session, experiment: str, slots: int) -> None:
        self._application, self._session = application, session
        self._experiment, self._slots = experiment, slots
        self._group = f"lethe-{secrets.token_hex(6)}"
        self._job: Job | None = None
        self._retries = 0
        self._again_at = 0.0

    def start(self) -> None:
        task = slot_task(self._application.request, self._experiment)
        spark, slots = self._session.spark, self._slots
        self._job = Job(
            self._session,
            self._group,
            f"lethe: slots of {self._experiment}",
            lambda: spark.range(0, slots, 1, slots).mapInArrow(task, SCHEMA).collect(),
        ).start()

    def check(self, notice: Callable[[str], None]) -> None:
        if self._job is None:
            if time.monotonic() >= self._again_at:
                self.start()
            return
        if not self._job.done():
            return
        why = self._why(self._job)
        if self._retries == RETRIES:
            raise ExperimentError(f"the slots' Spark job ended {RETRIES + 1} times, last: {why}")
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2**self._retries)
        self._retries += 1
        notice(f"the slots' Spark job ended: {why}; it is submitted again ({self._retries} of {RETRIES})")
        self._job, self._again_at = None, time.monotonic() + pause

    def _why(self, job: Job) -> str:
        if job.error is not None:
            if not self._session.alive():
                raise ExperimentError("the Spark session was stopped while the experiment ran") from None
            error = explain(job.error, self._session, "run the slots' job")
            if isinstance(error, InstallError):
                raise error from None
            return str(error).splitlines()[0]
        errors = [str(row["error"]) for row in job.rows if row["error"] is not None]
        if errors and len(errors) == len(job.rows):
            raise ExperimentError(errors[0])
        return errors[0] if errors else "its tasks were released"

    def finish(self, seconds: float) -> bool:
        return self._job is None or self._job.wait(seconds)

    def cancel(self) -> None:
        if self._job is not None and not self._job.done():
            self._job.cancel()


class LocalSlots(Slots):
    """One thread a slot; it only holds the slot, training is in the executor's workers."""

    def __init__(self, application: Application, experiment: str, slots: int) -> None:
        self._application, self._experiment = application, experiment
        self._errors: list[str | None] = []
        self._threads = [
            threading.Thread(target=self._hold, args=(slot,), name=f"lethe-slot-{slot}", daemon=True)
            for slot in range(slots)
        ]

    def _hold(self, slot: int) -> None:
        gpu = first_gpu() if slot == 0 else None
        try:
            place = self._application.local_place()
            error = hold_slot(self._application.request, place, self._experiment, slot, gpu)
        except Exception as failure:
            error = f"{type(failure).__name__}: {failure}"
        self._errors.append(error)

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def check(self, notice: Callable[[str], None]) -> None:
        errors = [error for error in self._errors if error is not None]
        if errors and not any(thread.is_alive() for thread in self._threads):
            raise ExperimentError(errors[0])

    def finish(self, seconds: float) -> bool:
        end = time.monotonic() + seconds
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(0.0, end - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def cancel(self) -> None:
        # Cancelling the experiment releases them; there is no task to kill.
        return


def first_gpu() -> str | None:
    """Without Spark the first GPU is taken, by the first slot."""
    return "0" if os.path.exists("/dev/nvidia0") else None


def count(session: Session | None, wanted: int | None, trials: int | None, threads: int) -> int:
    """How many slots to hold: those that there are, or as many as were asked for; never more than trials,
    where their number is known."""
    if wanted is None:
        wanted = max(1, len(os.sched_getaffinity(0)) // threads) if session is None else session.slots()
    return wanted if trials is None else min(wanted, trials)


def slots_of(application: Application, experiment: str, number: int) -> Slots:
    if application.session is not None:
        return SparkSlots(application, application.session, experiment, number)
    return LocalSlots(application, experiment, number)
