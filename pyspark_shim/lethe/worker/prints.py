"""What a function prints goes to its trial's log and to the notebook, beside the worker's own log."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any, TextIO

#: Text that waits to be sent, characters; what comes while there is more is left out, and counted.
WAITING = 1 << 20


class Printed:
    """Text that has been printed and not been sent."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._text: list[str] = []
        self._size = 0
        self._left_out = 0
        #: Called when there is something.
        self.wake: Callable[[], None] = lambda: None

    def add(self, text: str) -> None:
        with self._lock:
            if self._size > WAITING:
                self._left_out += len(text)
                return
            self._text.append(text)
            self._size += len(text)
        self.wake()

    def take(self) -> str:
        with self._lock:
            text = "".join(self._text)
            if self._left_out:
                text += f"\n… {self._left_out} characters were printed faster than they could be sent …\n"
            self._text, self._size, self._left_out = [], 0, 0
        return text


class _Tee:
    """A stream whose text goes to `printed` too."""

    def __init__(self, own: TextIO, printed: Printed) -> None:
        self._own, self._printed = own, printed

    def write(self, text: str) -> int:
        # First where it is refused if it is no text.
        written = self._own.write(text)
        self._printed.add(text)
        return written

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)


def capture() -> Printed:
    """From now on stdout and stderr are captured."""
    printed = Printed()
    sys.stdout, sys.stderr = _Tee(sys.stdout, printed), _Tee(sys.stderr, printed)
    return printed
