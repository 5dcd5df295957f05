"""Runs one experiment from its plan to its end, in the user's main thread."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lethe import flight, process
from lethe.application.application import Application
from lethe.errors import ExperimentError, Terminated
from lethe.experiment.slots import JobCancelled, Slots
from lethe.experiment.watch import Watch
from lethe.progress.base import Progress

if TYPE_CHECKING:
    from lethe.dataset.rebuild import Rebuild
    from lethe.experiment.adviser import Adviser
    from lethe.experiment.prepare import Preparer

#: How long an event is waited for before the slots are looked at, seconds.
LOOK_EVERY = 0.2
#: Seconds that a cancelled experiment gets to stop its trials.
CANCEL_WITHIN = 10.0
#: Seconds that slots get to end after the experiment has.
RELEASE_WITHIN = 30.0
#: Seconds that they get where it was broken off, before their job is cancelled.
BROKEN_OFF_WITHIN = 3.0
#: A killed driver's connections may break so many seconds before its process has ended.
GONE_WITHIN = 2.0
#: How often lost data are put again in one experiment.
REBUILDS = 20
#: Seconds without any slot after which the user is told.
NO_SLOT_AFTER = 30.0


class Runner:
    """One experiment.

    preparer: None for functions that need no generated module.
    adviser: None where neither optimizer nor constraints are the user's own code.
    rebuild: has data put again that executors have lost; None where there are none that could be.
    created: called when the driver has the experiment; must not wait.
    """

    def __init__(
        self,
        application: Application,
        plan: dict[str, Any],
        slots: Slots,
        preparer: Preparer | None,
        adviser: Adviser | None,
        progress: Progress,
        rebuild: Callable[[], Rebuild] | None = None,
        created: Callable[[], None] = lambda: None,
    ) -> None:
        self._application, self._plan, self._slots = application, plan, slots
        self._preparer, self._adviser, self._progress = preparer, adviser, progress
        self._experiment = str(plan["experiment"])
        self._watch: Watch | None = None
        self._started = False
        self._has_slots = False
        self._watch_lost = False
        self._completed = False
        self._new_rebuild, self._rebuilds = rebuild, 0
        self._created = created
        self._rebuild: Rebuild | None = None

    def run(self) -> dict[str, Any]:
        """The message `ExperimentResult`. Ctrl-C cancels the experiment and gives what there is, and so does
        who cancels its Spark job.

        Raises ModelError before any trial starts if the first module cannot be used; ExperimentError,
        InstallError or ProcessError if the experiment cannot go on, after what the user's optimizer or
        constraint raised if that is why; Terminated on SIGTERM.
        """
        try:
            self._create()
            try:
                self._created()
                end = self._until_over()
            except KeyboardInterrupt:
                end = self._cancel("interrupted (Ctrl-C)")
            except JobCancelled as cancelled:
                end = self._cancel(str(cancelled))
            except Terminated:
                self._cancel("terminated (SIGTERM)")
                raise
            except BaseException as error:
                # A SystemExit of the user's generator too: no trial goes on without its experiment.
                self._cancel((str(error).splitlines() or [type(error).__name__])[0])
                raise
            self._completed = end["type"] == "completed"
        finally:
            try:
                if self._adviser is not None:
                    self._adviser.close(completed=self._completed)
                self._release()
            finally:
                self._progress.close()
        if end["type"] == "aborted":
            raise ExperimentError(str(end["error"])) from self._users_error()
        return self._result()

    @property
    def began(self) -> bool:
        """Whether trials may have run: here, or where it went on from before, as one that had ended."""
        return self._started or self._completed

    def _create(self) -> None:
        try:
            self._application.peer.call("experiment.create", self._plan)
        except flight.FAILED as error:
            if self._driver_gone(error) or not self._application.alive():
                raise self._application.lost() from None
            raise ExperimentError(flight.reason(error)) from None
        self._watch = watch = Watch(self._application.peer, self._experiment)
        if self._adviser is not None:
            self._adviser.start(lambda: watch.push({"type": "advice_failed"}))

    def _users_error(self) -> BaseException | None:
        return None if self._adviser is None else self._adviser.error

    def _until_over(self) -> dict[str, Any]:
        if self._preparer is None:
            self._start_slots()
        resumed = "resume" in self._plan
        no_slot_at = time.monotonic() + NO_SLOT_AFTER
        while True:
            event = self._next()
            if event is not None and event["type"] == "over":
                end: dict[str, Any] = event["end"]
                return end
            self._look_at_data()
            self._progress.draw()
            if event is not None:
                self._handle(event)
            elif resumed and not self._started:
                # It is not over, and there may be nothing to prepare but paused trials to promote.
                self._start_slots()
            elif self._started:
                self._slots.check(self._progress.notice)
                if not self._has_slots and time.monotonic() > no_slot_at:
                    no_slot_at = time.monotonic() + NO_SLOT_AFTER
                    self._progress.notice(
                        "no slot yet: does the cluster have free cores for the slots' tasks?"
                    )

    def _next(self) -> dict[str, Any] | None:
        assert self._watch is not None
        event = self._watch.next(LOOK_EVERY)
        if event is not None and event["type"] == "lost":
            self._watch_lost = True
            if self._driver_gone():
                raise self._application.lost()
            raise ExperimentError(f"the driver ended the watch of {self._experiment}: {event['error']}")
        return event

    def _driver_gone(self, error: Exception | None = None) -> bool:
        """Whether the driver has ended, or is about to; one that refused a call has not."""
        if error is not None and not isinstance(error, flight.LOST):
            return not self._application.driver.alive()
        return process.wait_until(lambda: not self._application.driver.alive(), GONE_WITHIN)

    def _handle(self, event: dict[str, Any]) -> None:
        if event["type"] == "prepare":
            self._prepare(event)
        elif event["type"] in ("ask", "check", "tell"):
            self._advise(event)
        elif event["type"] == "advice_failed":
            self._advice_failed()
        elif event["type"] == "progress":
            self._has_slots = self._has_slots or event["slots"] > 0
            self._progress.show(event)
        elif event["type"] == "trial_failed":
            first = (str(event["error"]).splitlines() or ["no reason given"])[0]
            self._progress.notice(f"trial {event['trial']} failed: {first}")
        elif event["type"] == "lacks":
            self._lacks(event)
        elif event["type"] == "log":
            self._progress.log(int(event["trial"]), str(event["text"]))
        elif event["type"] == "notice":
            self._progress.notice(str(event["text"]))

    def _lacks(self, event: dict[str, Any]) -> None:
        """A slot has left for want of data; they are put again while the other slots go on."""
        data = self._plan.get("data")
        if data is None or event["dataset"] != data["dataset"]:
            trials = self._plan["source"].get("trials", ())
            if any(trial.get("data", {}).get("dataset") == event["dataset"] for trial in trials):
                raise ExperimentError(
                    f"partitions of {event['dataset']}, which single trials train on, were lost with their "
                    "executors; run lagom again, with resume=True to keep what is done"
                )
            # Said of the data before these: the slot has been opened again since.
            return
        self._slots.left(event["slot"])
        if self._rebuild is not None:
            return
        if self._new_rebuild is None or self._rebuilds == REBUILDS:
            raise ExperimentError(
                f"partitions of {event['dataset']} are held by no executor any more, "
                f"and were put again {self._rebuilds} times; run lagom again"
            )
        self._rebuilds += 1
        self._progress.notice("partitions of the dataset were lost with their executors: they are put again")
        self._rebuild = self._new_rebuild().start()

    def _look_at_data(self) -> None:
        if self._rebuild is None or not self._rebuild.done():
            return
        rebuild, self._rebuild = self._rebuild, None
        dataset = rebuild.result()
        if rebuild.anew is None:
            self._slots.refill()
            return
        former, self._plan["data"]["dataset"] = self._plan["data"]["dataset"], dataset
        self._progress.notice(
            "the dataset could not be put again as it was, so that all of it was put anew: from now on "
            f"trials train on other rows than those before ({rebuild.anew.splitlines()[0]})"
        )
        peer = self._application.peer
        try:
            peer.call("experiment.replace_data", {"experiment": self._experiment, "dataset": dataset})
            peer.call("dataset.drop", {"dataset": former})
        except flight.FAILED as error:
            if self._driver_gone(error):
                raise self._application.lost() from None
            raise ExperimentError(f"the data could not be replaced: {flight.reason(error)}") from None
        self._slots.renew()

    def _advise(self, event: dict[str, Any]) -> None:
        if self._adviser is None:
            raise ExperimentError(f"the driver sent {event['type']} to a search that asks nothing of Python")
        self._adviser.put(event)

    def _advice_failed(self) -> None:
        assert self._adviser is not None
        raise ExperimentError(str(self._adviser.text)) from self._adviser.error

    def _prepare(self, event: dict[str, Any]) -> None:
        if self._preparer is None:
            raise ExperimentError("the driver asked for a module that this training function has not")
        try:
            self._preparer.prepare(event["trial"], event["seed"], event["hparams"])
        except flight.FAILED as error:
            if self._driver_gone(error):
                raise self._application.lost() from None
            raise ExperimentError(
                f"trial {event['trial']} could not be prepared: {flight.reason(error)}"
            ) from None
        if not self._started:
            # Only now: a module that cannot be used is an error before anything runs.
            self._start_slots()

    def _start_slots(self) -> None:
        self._started = True
        self._slots.start()

    def _cancel(self, reason: str) -> dict[str, Any]:
        """Cancels the experiment and waits, for a bounded time, until it is over."""
        cancelled = {"type": "cancelled", "reason": reason}
        if not self._application.driver.alive() or self._watch is None:
            return cancelled
        try:
            self._application.peer.call(
                "experiment.cancel", {"experiment": self._experiment, "reason": reason}
            )
        except flight.FAILED:
            return cancelled
        until = time.monotonic() + CANCEL_WITHIN
        # Without the watch nothing will say that it is over.
        while not self._watch_lost and time.monotonic() < until:
            event = self._watch.next(LOOK_EVERY)
            if event is not None and event["type"] == "progress":
                self._progress.show(event)
            if event is not None and event["type"] in ("over", "lost"):
                end: dict[str, Any] = event.get("end", cancelled)
                return end
        return cancelled

    def _release(self) -> None:
        """Waits until the slots' tasks have ended; ends them if they do not by themselves."""
        if self._rebuild is not None:
            self._rebuild.cancel()
        if not self._started:
            return
        # Slots that never came, as on a busy cluster, are not waited for.
        within = RELEASE_WITHIN if self._completed and self._has_slots else BROKEN_OFF_WITHIN
        try:
            released = self._application.driver.alive() and self._slots.finish(within)
        except BaseException:
            self._slots.cancel()
            raise
        if not released:
            self._slots.cancel()
            self._slots.finish(CANCEL_WITHIN)

    def _result(self) -> dict[str, Any]:
        try:
            parts = self._application.peer.stream("experiment.result", {"experiment": self._experiment})
            found = next(parts)
            for part in parts:
                found["slots"] += part["slots"]
                for trial in part["trials"]:
                    if found["trials"] and found["trials"][-1]["trial"] == trial["trial"]:
                        # One of very many reports goes on in the next page.
                        found["trials"][-1]["history"] += trial["history"]
                    else:
                        found["trials"].append(trial)
        except flight.FAILED as error:
            if self._driver_gone(error):
                raise self._application.lost() from None
            raise ExperimentError(
                f"the result of {self._experiment} could not be read: {flight.reason(error)}"
            ) from None
        return found
