"""What trials print, in whole lines."""

from __future__ import annotations

from collections.abc import Iterator

#: Characters of a line that has not ended.
LINE = 10_000


class Lines:
    """Puts together lines that come in pieces, each after its trial's number."""

    def __init__(self) -> None:
        #: Of each trial, the beginning of a line.
        self._unfinished: dict[int, str] = {}

    def whole(self, trial: int, text: str) -> Iterator[str]:
        """The lines that end in this text."""
        *lines, rest = (self._unfinished.pop(trial, "") + text).split("\n")
        # Of a bar that is drawn over and over, the last.
        rest = rest.rsplit("\r", 1)[-1][-LINE:]
        if rest:
            self._unfinished[trial] = rest
        for line in lines:
            yield f"trial {trial}: " + line.rstrip("\r").rsplit("\r", 1)[-1]

    def rest(self) -> Iterator[str]:
        """Those that have not ended, as if they had."""
        for trial in list(self._unfinished):
            yield from self.whole(trial, "\n")
