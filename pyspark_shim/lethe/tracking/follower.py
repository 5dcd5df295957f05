"""The thread that tells one tracker what happens in one experiment.

It reads on in the tables only when the tracker has taken what came before: while a tracker is down nothing
piles up, the search does not notice, and when it is back everything is still there to be told.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from lethe.errors import LetheError
from lethe.result.sql import Tables
from lethe.tracking.story import Began, Reported, Started, Step, Story
from lethe.tracking.tracker import About, Outcome, Refused, Tracker

#: Seconds between looks at the tables.
EVERY = 1.0
#: Seconds between tries while the tracker is down, growing.
AGAIN, AT_MOST = 0.5, 10.0
#: Seconds that a tracker which has gone gets after the experiment's end, to come back.
GONE_WITHIN = 5.0
#: Seconds that one gets which was not reached yet, and has not failed: its library may still be importing,
#: and a call that hangs is ended by the tracker's own limits.
NEVER_WITHIN = 60.0
#: Seconds that the rest may take where the experiment was broken off.
BROKEN_OFF_WITHIN = 5.0
#: Refusals whose reasons are kept.
KEPT = 3

T = TypeVar("T")


class _Abandoned(Exception):
    """There is no more time."""


class Follower:
    """One tracker's, of one experiment. `values` and `trials` count what it has."""

    def __init__(self, tracker: Tracker, about: About, tables: Tables) -> None:
        self.tracker, self._about = tracker, about
        self._story, self._sink = Story(tables), tracker.sink()
        #: The last epoch of each trial that the tracker has; and had before this run.
        self._marks: dict[int, int] = {}
        self._former: dict[int, int] = {}
        self._over, self._abandoned = threading.Event(), threading.Event()
        self._outcome: Outcome | None = None
        #: Tries in a row.
        self._failures = 0
        #: Of the experiment's end, or of the last thing that was taken after it.
        self._took_at = 0.0
        self._thread = threading.Thread(target=self._main, name="lethe-tracker", daemon=True)
        #: Whether there is anything to tell, the tracker has taken something, and all.
        self.heard, self.reached, self.complete = False, False, False
        self.values, self.refused = 0, 0
        self.errors: list[str] = []

    def start(self) -> None:
        self._thread.start()

    def over(self, outcome: Outcome) -> None:
        """The experiment has ended; what is not told yet is told now. Does not wait."""
        self._outcome, self._took_at = outcome, time.monotonic()
        self._over.set()

    def wait(self, seconds: float) -> bool:
        """Whether it has nothing more to tell, or gave up, within this time."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    @property
    def hopeless(self) -> bool:
        """Whether it is not worth waiting for: it never took anything, tried twice."""
        return not self.reached and self._failures > 1

    @property
    def trials(self) -> int:
        return len(self._marks)

    def abandon(self) -> None:
        """Ends the thread after the call that it is in, which the tracker's own limits end."""
        self._abandoned.set()
        self._over.set()

    def _main(self) -> None:
        try:
            self._follow()
            self.complete = True
        except _Abandoned:
            pass
        except Exception as error:
            self._note(error)
        finally:
            self._sink.close()

    def _follow(self) -> None:
        while True:
            # Looked at before reading: what is read after the end is all.
            over = self._over.is_set()
            try:
                for step in self._story.read():
                    self._tell(step)
                if over:
                    for end in self._story.rest():
                        self._tell(end)
                    if self._outcome is not None:
                        self._do(self._sink.finish, self._outcome)
                    return
            except LetheError as error:
                # Its driver has just ended, and may be writing still.
                if over:
                    self._note(error)
                    raise _Abandoned from None
            self._over.wait(EVERY)
            if self._abandoned.is_set():
                raise _Abandoned

    def _tell(self, step: Step) -> None:
        self.heard = True
        if isinstance(step, Began):
            self._do(self._sink.begin, self._about, step.at)
        elif isinstance(step, Started):
            trial = step.trial
            mark = self._do(self._sink.start, trial)
            if mark is not None:
                self._former.setdefault(trial.number, mark)
                self._marks[trial.number] = max(mark, self._marks.get(trial.number, 0))
        elif isinstance(step, Reported):
            self._report(step)
        else:
            self._do(self._sink.end, step.trial)

    def _report(self, step: Reported) -> None:
        # An epoch is repeated after a slot was lost, or was told by a run before this one.
        mark, former = self._marks.get(step.trial, 0), self._former.get(step.trial, 0)
        news = [report for report in step.reports if report.epoch > mark]
        if news:
            refused = self.refused
            self._do(self._sink.report, step.trial, news)
            if self.refused > refused:
                return
            self._marks[step.trial] = news[-1].epoch
        there = [report for report in step.reports if report.epoch <= former]
        self.values += sum(len(report.metrics) for report in [*there, *news])

    def _do(self, call: Callable[..., T], *given: Any) -> T | None:
        """Until the tracker takes it; None if it refuses."""
        pause = AGAIN
        while True:
            if self._abandoned.is_set():
                raise _Abandoned
            over = self._over.is_set()
            try:
                found = call(*given)
            except Refused as error:
                self.refused += 1
                self._note(error)
                return None
            except Exception as error:
                self._note(error)
                self._failures += 1
            else:
                self.reached, self._failures, self._took_at = True, 0, time.monotonic()
                return found
            if over and (self.hopeless or time.monotonic() - self._took_at > GONE_WITHIN):
                raise _Abandoned
            self._over.wait(pause) if not over else time.sleep(AGAIN)
            pause = min(2 * pause, AT_MOST)

    def _note(self, error: BaseException) -> None:
        # At the bottom it says "connection refused"; above, whom that happened to.
        while (cause := error.__cause__ or error.__context__) is not None:
            error = cause
        text = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        self.errors = [*self.errors[-KEPT + 1 :], text]
