"""What a task needs to start an executor: shipped with the task's function."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Request:
    """An application's executor, as any of its tasks may have to start it.

    The token is part of the function that Spark ships to its tasks, on Spark's own channels (encrypted where
    Spark is told to); `repr` does not show it.
    """

    application: str
    token: str = field(repr=False)
    #: `host:port`.
    driver: str
    #: The driver's version of lethe.
    version: str
    ports: tuple[int, int] | None = None
    memory_limit: int | None = None
    disk_limit: int | None = None
    threads: int = 1
    #: A trainer binary of the user's own.
    trainer: str | None = None
    start_timeout: float = 30.0
