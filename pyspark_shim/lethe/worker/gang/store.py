"""A c10d Store over Flight: the driver's, which each attempt at a trial of several workers has."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from torch.distributed import Store

from lethe import flight
from lethe.worker.gang.broken import GroupLost

#: Of one call, seconds: the driver waits no longer for a key.
WAIT = 10.0
#: Ranks come when their data are there, which may take this long, seconds.
PATIENCE = 1800.0
ACTION = "gang.store"


class GangStore(Store):  # type: ignore[misc]
    """What torch's process groups call to find each other: values are bytes.

    attempt: the message `StoreCall` without its operation. look: called while a key is waited for; what it
    raises ends the waiting.
    """

    def __init__(
        self, peer: flight.Peer, attempt: dict[str, Any], look: Callable[[], None] = lambda: None
    ) -> None:
        super().__init__()
        self._peer, self._attempt, self._look = peer, attempt, look
        self._patience = timedelta(seconds=PATIENCE)

    def set(self, key: str, value: bytes | str) -> None:
        self._call({"type": "set", "key": key, "value": _text(value)})

    def get(self, key: str) -> bytes:
        """Waits for the key. Raises GroupLost where nobody has set it in time."""
        return self._wait_for(key, self._patience)

    def add(self, key: str, value: int) -> int:
        return int(self._call({"type": "add", "key": key, "amount": value})["number"])

    def check(self, keys: Sequence[str]) -> bool:
        """Whether all of them are there."""
        return all(self.peek(key) is not None for key in keys)

    def wait(self, keys: Sequence[str], timeout: timedelta | None = None) -> None:
        for key in keys:
            self._wait_for(key, self._patience if timeout is None else timeout)

    def delete_key(self, key: str) -> bool:
        return bool(self._call({"type": "delete", "key": key})["type"] == "done")

    #: As c10d calls it.
    deleteKey = delete_key

    def set_timeout(self, timeout: timedelta) -> None:
        self._patience = timeout

    @property
    def timeout(self) -> timedelta:
        return self._patience

    def peek(self, key: str) -> bytes | None:
        """The value, if it is there already."""
        return _value(self._call({"type": "get", "key": key, "wait_s": 0.0}))

    def _wait_for(self, key: str, patience: timedelta) -> bytes:
        end = time.monotonic() + min(patience.total_seconds(), PATIENCE)
        while True:
            self._look()
            left = end - time.monotonic()
            wait = max(0.0, min(left, WAIT / 10))
            found = _value(self._call({"type": "get", "key": key, "wait_s": wait}))
            if found is not None:
                return found
            if left <= 0:
                raise GroupLost(
                    f"another worker of the trial did not come within {patience.total_seconds():.0f} s "
                    f"(it sets {key!r}); see its executor's log"
                )

    def _call(self, operation: dict[str, Any]) -> dict[str, Any]:
        try:
            found: dict[str, Any] = self._peer.call(ACTION, {**self._attempt, "operation": operation})
        except flight.FAILED as error:
            raise GroupLost(
                f"the driver's store of the trial's workers failed: {flight.reason(error)}"
            ) from None
        return found


def _text(value: bytes | str) -> str:
    return base64.b64encode(value.encode() if isinstance(value, str) else value).decode()


def _value(stored: dict[str, Any]) -> bytes | None:
    return base64.b64decode(stored["value"]) if stored["type"] == "value" else None
