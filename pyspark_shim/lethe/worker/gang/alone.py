"""A trial on one worker: nothing is set up."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from lethe.worker.gang.shares import Shares


class Alone:
    """See `Workers`."""

    rank, world = 0, 1
    sharded = alike = spent = False

    def __init__(self) -> None:
        self.shares = Shares(0, 1)

    def join(self) -> None:
        pass

    def scope(self) -> AbstractContextManager[None]:
        return nullcontext()

    def parallel(self, model: Any) -> Any:
        return model

    def returned(self) -> None:
        pass

    def agree(self, how: str | None) -> str | None:
        return how

    def same(self, value: float | None) -> float | None:
        return value

    def outcome(self, error: BaseException) -> dict[str, Any] | None:
        return None

    def leave(self, how: str) -> None:
        pass
