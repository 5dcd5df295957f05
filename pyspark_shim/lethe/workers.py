"""How many slots a trial takes at once: a number, or a pair of the fewest and the most."""

from __future__ import annotations

from typing import Any

from lethe.errors import ConfigError

Workers = int | tuple[int, int]


def workers_of(what: str, workers: Any) -> tuple[int, int]:
    """The fewest and the most.

    Raises ConfigError, which begins with `what`.
    """
    pair = tuple(workers) if isinstance(workers, tuple | list) else (workers, workers)
    whole = all(isinstance(number, int) and not isinstance(number, bool) for number in pair)
    if len(pair) != 2 or not whole or not 1 <= pair[0] <= pair[1]:
        raise ConfigError(
            f"{what} must be a whole number from 1, or a pair of the fewest and the most, not {workers!r}"
        )
    return pair[0], pair[1]


def workers_message(workers: Workers) -> int | dict[str, int]:
    """The message `Workers`."""
    least, most = workers_of("workers", workers)
    return most if least == most else {"least": least, "most": most}
