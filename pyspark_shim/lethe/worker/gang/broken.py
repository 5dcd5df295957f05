"""Whether an exception comes of another rank's end: then it says nothing of the function."""

from __future__ import annotations

import sys
from collections.abc import Iterator

#: In the texts of the plain RuntimeErrors that Gloo's and NCCL's failures are.
TEXTS = ("/gloo/", "gloo::", "Gloo connect", "NCCL error", "NCCL communicator", "ncclRemoteError")

#: In those of TensorFlow's errors of other kinds that come of another rank's.
TENSORFLOW = ("Collective ops is aborted", "coordination service")


class GroupLost(RuntimeError):
    """The other ranks cannot be found."""


def is_broken(error: BaseException) -> bool:
    """Whether it, or what it was raised of, is a collective's that failed."""
    return any(_of_collective(one) for one in _chain(error))


def _of_collective(error: BaseException) -> bool:
    if isinstance(error, GroupLost):
        return True
    tensorflow = sys.modules.get("tensorflow")
    # As long as it is being imported it has no errors.
    errors = getattr(tensorflow, "errors", None)
    if errors is not None and isinstance(error, errors.OpError):
        lost = (
            errors.UnavailableError,
            errors.AbortedError,
            errors.CancelledError,
            errors.DeadlineExceededError,
        )
        return isinstance(error, lost) or any(text in str(error) for text in TENSORFLOW)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(error, torch.distributed.DistError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in TEXTS)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
