"""Settings of an application's processes."""

from __future__ import annotations

from dataclasses import dataclass

from lethe.errors import ConfigError


@dataclass(frozen=True)
class Settings:
    """How Lethe's processes are reached and bounded. They are read when an application starts: the first
    `lagom` (or read of rows) of a Spark session, or of the process where there is no Spark.

    driver_host: the address that executors use to reach the driver. Default: `spark.driver.host`; for Spark
        Connect the local address towards the server; without Spark 127.0.0.1.
    driver_bind: the address that the driver listens on. Default: `spark.driver.bindAddress`, else
        `driver_host`.
    driver_port: 0 takes any free port.
    executor_ports: first and last port that executors may listen on; None takes any free port.
    memory_limit: bytes that Lethe's processes may take on one executor's host; None reads the cgroup's limit.
    disk_limit: bytes that partitions and views may take on the disk of one executor; None takes what its file
        system has. Where it is too small for the data, that is an error, and nothing is lost.
    copies: executors that hold each partition that was put, where there are so many. With 1 the loss of an
        executor has its partitions computed again.
    threads: torch threads of each slot. With more than one, sums depend on their order and reruns may differ.
    trainer: the trainer binary of your own, with Rust functions that it registers, as executors' hosts see
        it: a path, or the name of a file that was shipped with `spark.sparkContext.addFile` or `--files`.
            None: Lethe's.
    start_timeout: seconds that a process may take to start.
    """

    driver_host: str | None = None
    driver_bind: str | None = None
    driver_port: int = 0
    executor_ports: tuple[int, int] | None = None
    memory_limit: int | None = None
    disk_limit: int | None = None
    copies: int = 2
    threads: int = 1
    trainer: str | None = None
    start_timeout: float = 30.0

    def __post_init__(self) -> None:
        if not 0 <= self.driver_port <= 65535:
            raise ConfigError(f"driver_port must be between 0 and 65535, not {self.driver_port}")
        if self.executor_ports is not None:
            first, last = self.executor_ports
            if not 1 <= first <= last <= 65535:
                raise ConfigError(
                    f"executor_ports must be (first, last) within 1..65535, not {self.executor_ports}"
                )
        if self.memory_limit is not None and self.memory_limit <= 0:
            raise ConfigError(f"memory_limit is in bytes and must be positive, not {self.memory_limit}")
        if self.disk_limit is not None and self.disk_limit <= 0:
            raise ConfigError(f"disk_limit is in bytes and must be positive, not {self.disk_limit}")
        if not 1 <= self.copies <= 100:
            raise ConfigError(f"copies must be between 1 and 100, not {self.copies}")
        if self.threads < 1:
            raise ConfigError(f"threads must be at least 1, not {self.threads}")
        if self.trainer is not None and (not isinstance(self.trainer, str) or not self.trainer):
            raise ConfigError(f"trainer must be the path of a trainer binary, not {self.trainer!r}")
        if self.start_timeout <= 0:
            raise ConfigError(f"start_timeout is in seconds and must be positive, not {self.start_timeout}")
