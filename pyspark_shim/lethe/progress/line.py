"""In a terminal: one live line."""

from __future__ import annotations

import sys
from typing import Any

from lethe.progress.base import Progress
from lethe.progress.standing import Standing

#: Seconds between two drawings, at least.
EVERY = 0.2


class Line(Progress):
    """A `tqdm` bar on stderr; what is written comes above it."""

    def __init__(self, standing: Standing) -> None:
        super().__init__(standing)
        from tqdm import tqdm

        # smoothing: the mean rate; the rate between two drawings says nothing where trials take minutes.
        # miniters: a drawing is due too where only the best has changed.
        self._bar: Any = tqdm(
            total=standing.total,
            desc=standing.name,
            unit=standing.unit,
            dynamic_ncols=True,
            mininterval=EVERY,
            miniters=0,
            smoothing=0,
        )

    def draw(self) -> None:
        self._set()
        self._bar.update(0)

    def _set(self) -> None:
        self._bar.n, self._bar.initial = self.standing.done, self.standing.initial
        self._bar.set_postfix_str(self.standing.words(), refresh=False)

    def write(self, line: str, *, error: bool) -> None:
        self._bar.write(line, file=sys.stderr if error else sys.stdout)

    def last(self) -> None:
        self._set()
        self._bar.refresh()
        self._bar.close()
