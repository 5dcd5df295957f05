"""Where nothing can be drawn over, a log or a kernel without a display: a line now and then."""

from __future__ import annotations

import sys
import time

from lethe.progress.base import Progress
from lethe.progress.standing import Standing

#: Seconds to the second line. Each later one comes when the time since the beginning has grown by a part, so
#: that hours of training are some dozens of lines.
FIRST = 2.0
GROWTH = 0.2
#: Seconds between two lines, at most.
LONGEST = 120.0


class Plain(Progress):
    """On stderr, with the notices."""

    def __init__(self, standing: Standing) -> None:
        super().__init__(standing)
        self._next = 0.0
        self._shown = ""

    def draw(self) -> None:
        now = time.monotonic()
        if self.standing.progress is None or now < self._next:
            return
        self._next = now + min(LONGEST, max(FIRST, GROWTH * self.standing.elapsed))
        self._print()

    def last(self) -> None:
        if self.standing.progress is not None:
            self._print()

    def _print(self) -> None:
        line = self.standing.line()
        if line != self._shown:
            self._shown = line
            print(line, file=sys.stderr, flush=True)
