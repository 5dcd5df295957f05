"""All trackers of one experiment, from its beginning to a bounded end."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lethe.dataset.preprocessing import PREPROCESSING
from lethe.errors import ConfigError
from lethe.result.sql import Tables
from lethe.tracking.follower import BROKEN_OFF_WITHIN, NEVER_WITHIN, Follower
from lethe.tracking.tracker import About, Outcome, Tracker

if TYPE_CHECKING:
    from torch import nn

    from lethe.result.result import Result

#: Seconds after which the user is told what is waited for.
SILENT = 2.0


def trackers_of(track: Any) -> list[Tracker]:
    """What `lagom(…, track=…)` was given, as a list.

    Raises ConfigError if it is something else.
    """
    given = [] if track is None else [track] if isinstance(track, Tracker) else track
    if not isinstance(given, Sequence) or not all(isinstance(one, Tracker) for one in given):
        raise ConfigError(
            f"track must be lethe.MLflow(…), lethe.TensorBoard(…) or a list of them, not {track!r}"
        )
    return list(given)


class Following:
    """Each tracker has a thread of its own: one that is down delays no other. An error that leaves the
    block is the experiment's end to them."""

    def __init__(self, trackers: Sequence[Tracker], tables: Tables, quiet: bool) -> None:
        self._trackers, self._tables, self._quiet = trackers, tables, quiet
        self._followers: list[Follower] = []
        self._name = ""

    def __enter__(self) -> Following:
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is not None:
            words = str(error).strip().splitlines() or [type(error).__name__]
            self._end(Outcome("failed", error=words[0]), None, broken_off=True)

    def follow(self, about: About) -> None:
        """The driver has the experiment. Does not wait."""
        self._name = about.name
        self._followers = [Follower(tracker, about, self._tables) for tracker in self._trackers]
        for follower in self._followers:
            follower.start()

    def finish(
        self, result: Result, message: dict[str, Any], model: Callable[[], nn.Module] | None, sections: Any
    ) -> None:
        """Tells the trackers how it ended, and waits while they take the rest: each for its `patience`, for
        seconds where the experiment was interrupted. Ctrl-C leaves the rest. Warns once of what was lost.

        message: the message `ExperimentResult`. sections: the messages `Section` of the best model's inputs,
        if it has those of the experiment.
        """
        if not self._followers:
            return
        best = result.best
        preprocessing = Path(result.directory) / PREPROCESSING
        outcome = Outcome(
            state="stopped" if result.interrupted else "finished",
            error=result.reason,
            best=None if best is None else best.trial,
            metrics={} if best is None else best.metrics,
            # Seconds are not enough for it; an experiment that goes on has it at its end.
            model=None if result.interrupted else model,
            sections=sections,
            files=[str(preprocessing)] if result.preprocessing is not None else [],
        )
        self._end(outcome, message, broken_off=result.interrupted)

    def _end(self, outcome: Outcome, message: dict[str, Any] | None, *, broken_off: bool) -> None:
        followers, self._followers = self._followers, []
        for follower in followers:
            follower.over(outcome)
        try:
            self._wait(followers, broken_off)
        except KeyboardInterrupt:
            pass
        finally:
            for follower in followers:
                follower.abandon()
        lost = [_lost(follower, message) for follower in followers if _has_lost(follower)]
        if lost:
            again = f'lagom(…, name="{self._name}", resume=True, track=…) tells the rest'
            warnings.warn(f"lethe: {'; '.join(lost)}; {again}", stacklevel=5)

    def _wait(self, followers: Sequence[Follower], broken_off: bool) -> None:
        began, told, waiting = time.monotonic(), self._quiet, list(followers)
        while waiting:
            passed = time.monotonic() - began
            waiting = [one for one in waiting if not one.wait(0.05) and passed < _limit(one, broken_off)]
            if waiting and not told and passed > SILENT:
                told = True
                places = ", ".join(follower.tracker.place for follower in waiting)
                print(f"lethe: {places} is told the rest (Ctrl-C leaves it)", file=sys.stderr)


def _limit(follower: Follower, broken_off: bool) -> float:
    if follower.hopeless:
        return 0.5
    limits = [follower.tracker.patience]
    if not follower.reached:
        limits.append(NEVER_WITHIN)
    if broken_off:
        limits.append(BROKEN_OFF_WITHIN)
    return min(limits)


def _has_lost(follower: Follower) -> bool:
    # An experiment whose driver ended at once has nothing to lose.
    return follower.heard and (not follower.complete or follower.refused > 0)


def _lost(follower: Follower, message: dict[str, Any] | None) -> str:
    why = follower.errors[-1] if follower.errors else "it took too long"
    place = follower.tracker.place
    if message is None:
        return f"{place} did not take everything ({why})"
    ran = [trial for trial in message["trials"] if trial["attempts"] > 0 or trial["state"] == "failed"]
    values = sum(len(report["metrics"]) for trial in ran for report in trial["history"])
    missing = [
        f"{max(0, total - there)} of {total} {what}"
        for what, there, total in (("trials", follower.trials, len(ran)), ("values", follower.values, values))
        if there < total
    ]
    if not missing:
        return f"{place} did not take everything ({why})"
    return f"{place} has no {' and '.join(missing)} ({why})"
