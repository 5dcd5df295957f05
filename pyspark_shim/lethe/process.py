"""Processes: identity by pid and start time, the binaries in the wheel, and what a dead one wrote last."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lethe.errors import InstallError, ProcessError


def start_time(pid: int) -> int | None:
    """Field 22 of /proc/<pid>/stat, clock ticks since boot; None if there is no such process or it is a
    zombie."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rsplit(")", 1)[1].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def alive(pid: int, started: int) -> bool:
    """Whether the process lives that had this pid and start time: a reused pid is not taken for it."""
    return start_time(pid) == started


def owner(pid: int) -> dict[str, int]:
    """The message `Owner` of a living process."""
    started = start_time(pid)
    if started is None:
        raise ProcessLookupError(f"there is no process {pid}")
    return {"pid": pid, "started": started}


def binary(name: str) -> Path:
    """The path of a binary that the wheel brought.

    Raises InstallError if it is not there.
    """
    path = Path(__file__).parent / "bin" / name
    if not path.is_file():
        raise InstallError(
            f"lethe's program {path} is missing; install the wheel again: pip install --force-reinstall lethe"
        )
    if not os.access(path, os.X_OK):
        raise InstallError(f"lethe's program {path} may not be executed; run: chmod +x {path}")
    return path


def ask(
    name: str, command: str, question: dict[str, Any], seconds: float | None
) -> subprocess.CompletedProcess[bytes]:
    """Runs a program's command that reads one line of JSON and answers on stdout.

    Raises InstallError if the program is not there, ProcessError if it takes longer than `seconds`.
    """
    try:
        return subprocess.run(
            [binary(name), command],
            input=json.dumps(question).encode() + b"\n",
            capture_output=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ProcessError(f"{name} {command} did not answer within {seconds:.0f} s") from None


def said(stderr: bytes) -> str:
    """What a program wrote last on stderr, without its own name."""
    text = stderr.decode("utf-8", errors="replace").strip()
    return text.removeprefix("lethe-driver: ") or "no reason given"


def end_of(log: str | Path, most: int) -> bytes:
    """The last so many bytes of a file. Raises OSError."""
    with open(log, "rb") as file:
        file.seek(max(0, os.path.getsize(log) - most))
        return file.read(most)


def last_lines(log: str | Path, lines: int = 5) -> str:
    """The end of a log, or nothing."""
    try:
        text = end_of(log, 16_384).decode("utf-8", errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


def environment() -> dict[str, str]:
    """This process's environment without the secrets of Spark's own sockets."""
    secret = ("PYTHON_WORKER_FACTORY_SECRET", "PYSPARK_GATEWAY_SECRET", "SPARK_CONNECT_AUTHENTICATE_TOKEN")
    return {name: value for name, value in os.environ.items() if name not in secret}


def wait_until(condition: Callable[[], bool], seconds: float, pause: float = 0.01) -> bool:
    """Polls until the condition holds; False after `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= end:
            return False
        time.sleep(pause)
    return True
