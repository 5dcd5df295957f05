"""Environment variables for a while, where a library has no other way to be told."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping

_lock = threading.Lock()
#: How many hold each of those that were set here.
_held: dict[str, int] = {}


class Environment:
    """Sets those that the user has not set; they go when the last one that wanted them leaves."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables, self._mine = dict(variables), list[str]()

    def enter(self) -> None:
        with _lock:
            if self._mine:
                return
            for name, value in self._variables.items():
                if name in os.environ and name not in _held:
                    continue
                os.environ[name] = value
                _held[name] = _held.get(name, 0) + 1
                self._mine.append(name)

    def leave(self) -> None:
        with _lock:
            for name in self._mine:
                _held[name] -= 1
                if _held[name] == 0:
                    del _held[name]
                    os.environ.pop(name, None)
            self._mine = []
