"""Where a task runs: its Spark executor's own directory, JVM and address."""

from __future__ import annotations

import itertools
import os
import socket
from dataclasses import dataclass
from pathlib import Path

from lethe import process
from lethe.errors import ProcessError

#: daemon.py, its fork, and a wrapper or two stand between a Python worker and its JVM.
MAX_PARENTS = 8


@dataclass(frozen=True)
class Place:
    """One Spark executor (or, without Spark, the user's process).

    base: a directory that only this Spark executor has.
    owner: pid and start time of the process whose end ends the lethe-executor.
    bind: the address to listen on.
    """

    base: str
    owner: dict[str, int]
    bind: str


def spark_place(driver: str) -> Place:
    """The place of the Spark task that this process runs; `driver` is the `host:port` of the driver."""
    directories = os.environ.get("SPARK_LOCAL_DIRS", "")
    base = directories.split(",")[0]
    if not base:
        raise ProcessError("SPARK_LOCAL_DIRS is not set: this is not a Python worker of a Spark executor")
    jvm = _jvm()
    return Place(base, process.owner(jvm), _hostname(jvm) or address_towards(driver))


def _jvm() -> int:
    pid = os.getppid()
    for _ in range(MAX_PARENTS):
        try:
            if os.path.basename(os.readlink(f"/proc/{pid}/exe")) == "java":
                return pid
            pid = int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[1])
        except (OSError, ValueError):
            break
    raise ProcessError(f"no JVM was found above this Python worker (pid {os.getpid()})")


def _hostname(jvm: int) -> str | None:
    """What the executor's JVM was told with `--hostname`: the address by which Spark knows it."""
    words = Path(f"/proc/{jvm}/cmdline").read_bytes().decode(errors="replace").split("\0")
    for name, value in itertools.pairwise(words):
        if name == "--hostname" and value:
            return value.strip("[]")
    return None


def address_towards(peer: str) -> str:
    """This host's address on the way to `host:port`. Sends nothing: connecting UDP only picks a route."""
    host, _, port = peer.rpartition(":")
    host = host.strip("[]")
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, int(port), type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as probe:
            probe.connect(address)
            return str(probe.getsockname()[0])
    except OSError as error:
        raise ProcessError(f"there is no route to {peer}: {error}") from None
