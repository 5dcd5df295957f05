"""What shows an experiment while it runs, and its result."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from lethe.progress.lines import Lines
from lethe.progress.standing import Standing

if TYPE_CHECKING:
    from lethe.result.result import Result


class Progress(ABC):
    """Called from the user's main thread alone. A notice is a line on stderr, what a trial prints one on
    stdout, here and wherever nothing else is said."""

    def __init__(self, standing: Standing) -> None:
        self.standing = standing
        self._lines = Lines()

    def show(self, progress: dict[str, Any]) -> None:
        """Takes a message `Progress`."""
        self.standing.take(progress)
        self.draw()

    @abstractmethod
    def draw(self) -> None:
        """Shows how it stands if that is due. Called after each message, and several times a second between
        them."""

    def notice(self, text: str) -> None:
        """What the user should know."""
        self.write(f"lethe: {text}", error=True)

    def log(self, trial: int, text: str) -> None:
        """What a trial's function has printed: each whole line after the trial's number."""
        for line in self._lines.whole(trial, text):
            self.write(line, error=False)

    def write(self, line: str, *, error: bool) -> None:
        print(line, file=sys.stderr if error else sys.stdout, flush=True)

    def close(self) -> None:
        """The experiment is over, or broken off: shows the last state, and ends what was started."""
        for line in self._lines.rest():
            self.write(line, error=False)
        self.last()

    @abstractmethod
    def last(self) -> None:
        """Shows how it stands now, for the last time."""

    def result(self, result: Result) -> None:
        """Shows what it came to."""
        print(result.summary(), flush=True)


class Quiet(Progress):
    """Shows nothing."""

    def show(self, progress: dict[str, Any]) -> None:
        return

    def draw(self) -> None:
        return

    def log(self, trial: int, text: str) -> None:
        return

    def write(self, line: str, *, error: bool) -> None:
        return

    def last(self) -> None:
        return

    def result(self, result: Result) -> None:
        return
