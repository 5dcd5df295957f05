"""The slots of an experiment: tasks of a Spark job, or threads where there is no Spark."""

from __future__ import annotations

import glob
import os
import secrets
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable

from lethe.application.application import Application
from lethe.errors import ExperimentError, InstallError
from lethe.session.base import Job, Session
from lethe.session.failure import cancelled, explain, meaning, stopped
from lethe.task.slot import SCHEMA, hold_slot, slot_task

#: How often the slots' job is submitted again that Spark has aborted.
RETRIES = 5
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 10.0


class JobCancelled(Exception):
    """Somebody has cancelled the slots' Spark job: the experiment is to end, with what there is."""


class Slots(ABC):
    """The slots of one experiment."""

    @abstractmethod
    def start(self) -> None:
        """Starts to fill them; does not wait."""

    @abstractmethod
    def check(self, notice: Callable[[str], None]) -> None:
        """To be called while the experiment runs: fills lost slots again.

        Raises ExperimentError or InstallError if there is no slot and there will be none, JobCancelled if
        somebody has cancelled what holds them.
        """

    @abstractmethod
    def left(self, slot: int) -> None:
        """The driver says that this slot has left for want of data: it is opened again by `refill`."""

    @abstractmethod
    def refill(self) -> None:
        """The data are there again: opens the slots that have left."""

    @abstractmethod
    def renew(self) -> None:
        """The data are others, and the driver has released all slots: opens them anew."""

    @abstractmethod
    def finish(self, seconds: float) -> bool:
        """Waits until all slots have been released; False if some have not in this time."""

    @abstractmethod
    def cancel(self) -> None:
        """Ends them now."""


class SparkSlots(Slots):
    """One task a slot, in one job; those that have lost their data come back in jobs of their own."""

    def __init__(
        self,
        application: Application,
        session: Session,
        experiment: str,
        slots: int,
        function: bytes | None = None,
    ) -> None:
        self._application, self._session = application, session
        self._experiment, self._slots, self._function = experiment, slots, function
        #: Each with the slots that it still holds, or that are to be opened again when it ends.
        self._jobs: list[tuple[Job, set[int]]] = []
        self._without_data: set[int] = set()
        self._retries = 0
        self._again: set[int] = set()
        self._again_at = 0.0

    def start(self) -> None:
        self._submit(set(range(self._slots)))

    def _submit(self, numbers: set[int]) -> None:
        task = slot_task(self._application.request, self._experiment, tuple(sorted(numbers)), self._function)
        spark, slots = self._session.spark, len(numbers)
        job = Job(
            self._session,
            f"lethe-{secrets.token_hex(6)}",
            f"lethe: slots of {self._experiment}",
            lambda: spark.range(0, slots, 1, slots).mapInArrow(task, SCHEMA).collect(),
        )
        self._jobs.append((job.start(), set(numbers)))

    def check(self, notice: Callable[[str], None]) -> None:
        if self._again and time.monotonic() >= self._again_at:
            self._submit(self._again)
            self._again = set()
        ended = [(job, numbers) for job, numbers in self._jobs if job.done()]
        self._jobs = [(job, numbers) for job, numbers in self._jobs if not job.done()]
        for job, numbers in ended:
            # Without any left, all of them wait for data.
            if numbers:
                self._submit_later(job, numbers, notice)

    def _submit_later(self, job: Job, numbers: set[int], notice: Callable[[str], None]) -> None:
        why = self._why(job)
        if self._retries == RETRIES:
            raise ExperimentError(f"the slots' Spark job ended {RETRIES + 1} times, last: {why}")
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2**self._retries)
        self._retries += 1
        notice(f"the slots' Spark job ended: {why}; it is submitted again ({self._retries} of {RETRIES})")
        self._again, self._again_at = self._again | numbers, time.monotonic() + pause

    def left(self, slot: int) -> None:
        self._without_data.add(slot)
        for numbers in (self._again, *(numbers for _, numbers in self._jobs)):
            numbers.discard(slot)

    def refill(self) -> None:
        numbers, self._without_data = self._without_data, set()
        if numbers:
            self._submit(numbers)

    def renew(self) -> None:
        for slot in range(self._slots):
            self.left(slot)
        self.refill()

    def _why(self, job: Job) -> str:
        if job.error is not None:
            if not self._session.alive() or stopped(job.error):
                raise ExperimentError("the Spark session was stopped while the experiment ran") from None
            if cancelled(job.error):
                raise JobCancelled(f"the slots' Spark job was cancelled: {meaning(str(job.error))}") from None
            error = explain(job.error, self._session, "run the slots' job")
            if isinstance(error, InstallError):
                raise error from None
            return str(error).splitlines()[0]
        errors = [str(row["error"]) for row in job.rows if row["error"] is not None]
        if errors and len(errors) == len(job.rows):
            raise ExperimentError(errors[0])
        return errors[0] if errors else "its tasks were released"

    def finish(self, seconds: float) -> bool:
        end = time.monotonic() + seconds
        return all(job.wait(max(0.0, end - time.monotonic())) for job, _ in self._jobs)

    def cancel(self) -> None:
        for job, _ in self._jobs:
            if not job.done():
                job.cancel()


class LocalSlots(Slots):
    """One thread a slot; it only holds the slot, training is in the executor's workers."""

    def __init__(
        self,
        application: Application,
        experiment: str,
        slots: int,
        function: bytes | None = None,
        together: bool = False,
    ) -> None:
        self._application, self._experiment = application, experiment
        self._slots, self._function = slots, function
        self._gpus = gpus(slots, together)
        self._errors: list[str | None] = []
        self._without_data: set[int] = set()
        self._threads: list[threading.Thread] = []

    def _hold(self, slot: int) -> None:
        gpu = str(slot) if slot < self._gpus else None
        try:
            place = self._application.local_place()
            error = hold_slot(self._application.request, place, self._experiment, slot, gpu, self._function)
        except Exception as failure:
            error = f"{type(failure).__name__}: {failure}"
        self._errors.append(error)

    def start(self) -> None:
        self._open(set(range(self._slots)))

    def _open(self, numbers: set[int]) -> None:
        for slot in sorted(numbers):
            thread = threading.Thread(target=self._hold, args=(slot,), name=f"lethe-slot-{slot}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def left(self, slot: int) -> None:
        self._without_data.add(slot)

    def refill(self) -> None:
        numbers, self._without_data = self._without_data, set()
        self._open(numbers)

    def renew(self) -> None:
        self._without_data = set(range(self._slots))
        self.refill()

    def check(self, notice: Callable[[str], None]) -> None:
        errors = [error for error in self._errors if error is not None]
        if errors and not any(thread.is_alive() for thread in self._threads):
            raise ExperimentError(errors[0])

    def finish(self, seconds: float) -> bool:
        end = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def cancel(self) -> None:
        # Cancelling the experiment releases them; there is no task to kill.
        return


def gpus(slots: int, together: bool) -> int:
    """How many of the slots have a GPU where there is no Spark to give them: the first ones, one each. Of
    workers that train together all have one, or none.

    together: whether trials take several slots.
    """
    there = min(slots, len(glob.glob("/dev/nvidia[0-9]*")))
    return 0 if together and there < slots else there


def count(session: Session | None, wanted: int | None, trials: int | None, threads: int) -> int:
    """How many slots to hold: those that there are, or as many as were asked for; never more than trials,
    where their number is known."""
    if wanted is None:
        wanted = max(1, len(os.sched_getaffinity(0)) // threads) if session is None else session.slots()
    return wanted if trials is None else min(wanted, trials)


def slots_of(
    application: Application,
    experiment: str,
    number: int,
    function: bytes | None = None,
    together: bool = False,
) -> Slots:
    """function: what their workers run in Python, pickled. together: whether trials take several slots."""
    if application.session is not None:
        return SparkSlots(application, application.session, experiment, number, function)
    return LocalSlots(application, experiment, number, function, together)
