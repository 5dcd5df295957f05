"""What a worker's parts ask of the trial's other workers."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Protocol

from lethe.worker.gang.shares import Shares


class Workers(Protocol):
    """rank, world: this worker's number, and how many there are. shares: of the batches that it draws.
    sharded: each worker holds a part of the model alone, and what makes it whole is done by all at once.
    alike: all draw the same random numbers. spent: the process can run no other attempt after this one."""

    rank: int
    world: int
    shares: Shares
    sharded: bool
    alike: bool
    spent: bool

    def join(self) -> None:
        """Waits for the others."""

    def scope(self) -> AbstractContextManager[None]:
        """Within it models are made and trained."""

    def parallel(self, model: Any) -> Any:
        """The model, trained together from here on: each backward pass leaves the gradients of the whole
        batch on all workers. What is neither a module of PyTorch nor of Keras is left as it is.

        Raises LetheError for a model of TensorFlow where the function has not been given its strategy."""

    def returned(self) -> None:
        """The function has returned."""

    def agree(self, how: str | None) -> str | None:
        """Of the first worker: whether and how the attempt is to end. Each worker calls it at each step."""

    def same(self, value: float | None) -> float | None:
        """The first worker's value."""

    def outcome(self, error: BaseException) -> dict[str, Any] | None:
        """The message `Outcome` of an attempt that another worker's end broke off; None where the error is
        the function's own."""

    def leave(self, how: str) -> None:
        """The end of the attempt, as the message `Outcome` calls it. Nothing of the group is left."""
