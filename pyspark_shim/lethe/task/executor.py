"""One lethe-executor per Spark executor and application: started by the first task, found by the others."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from lethe import process
from lethe.errors import InstallError, ProcessError
from lethe.task.place import Place
from lethe.task.request import Request
from lethe.version import PROTOCOL, libtorch, require_lethe

#: One heap for all threads that serves large buffers too and gives back what is free over 128 MiB,
#: more than a put holds at once. Buffers that are mapped anew for each batch cost more than what is done with
#: them (a million rows of 64: a view took 2.5 s instead of 1.0); a heap for each thread keeps what it held
#: (250 MiB instead of 95).
HEAP = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "33554432",
    "MALLOC_TRIM_THRESHOLD_": "134217728",
}


def folder(place: Place, application: str) -> Path:
    """Where the application's executor of this place keeps its files."""
    return Path(place.base) / f"lethe-{application}"


def ensure_executor(request: Request, place: Place) -> dict[str, Any]:
    """The running executor's `ExecutorInfo`; starts it if there is none.

    Raises ProcessError or InstallError, whose first line says why there is none.
    """
    require_lethe(request.version)
    home = folder(place, request.application)
    home.mkdir(mode=0o700, exist_ok=True)
    lock = os.open(home / "executor.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        # Whoever holds it is starting the executor.
        if not process.wait_until(lambda: _locked(lock), 2 * request.start_timeout):
            raise ProcessError(
                f"another task has held {home / 'executor.lock'} for {2 * request.start_timeout:.0f} s"
            )
        found = running(home / "executor.json")
        return found if found is not None else _start(request, place, home)
    finally:
        # Python workers are reused: an open lock would stop every later task.
        os.close(lock)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def running(info: Path) -> dict[str, Any] | None:
    """What the file says, if the process lives that wrote it."""
    found = _read(info)
    if found is None or found.get("error") or not process.alive(found["pid"], found["started"]):
        return None
    return found


def _read(info: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(info.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and {"pid", "started"} <= found.keys() else None


def _start(request: Request, place: Place, home: Path) -> dict[str, Any]:
    info, log = home / "executor.json", home / "executor.log"
    info.unlink(missing_ok=True)
    pid = _spawn(str(process.binary("lethe-executor")), _config(request, place, home, info, log), log)
    started = process.start_time(pid)

    def answered() -> bool:
        return info.exists() or started is None or not process.alive(pid, started)

    try:
        process.wait_until(answered, request.start_timeout)
    except BaseException:
        _kill(pid, started)
        raise
    found = _read(info)
    if found is None:
        ended = started is None or not process.alive(pid, started)
        # One that comes late would work beside the next one.
        _kill(pid, started)
        what = "ended while it started" if ended else f"did not answer within {request.start_timeout:.0f} s"
        raise ProcessError(
            f"the lethe-executor on {place.bind} {what}; its log is {log}\n{process.last_lines(log)}"
        )
    if found.get("error"):
        raise ProcessError(str(found["error"]))
    if (found["protocol"], found["version"]) != (PROTOCOL, request.version):
        raise InstallError(
            f"{process.binary('lethe-executor')} is lethe {found['version']} (protocol "
            f"{found['protocol']}), the driver "
            f"is lethe {request.version} (protocol {PROTOCOL}); install the same wheel on both"
        )
    return found


def _kill(pid: int, started: int | None) -> None:
    if started is not None and process.alive(pid, started):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _config(request: Request, place: Place, home: Path, info: Path, log: Path) -> dict[str, Any]:
    libraries = libtorch()
    beside = Path(__file__).resolve().parents[2] / "torch" / "lib"
    return {
        "token": request.token,
        "application": request.application,
        "driver": request.driver,
        "bind": place.bind,
        "ports": list(request.ports) if request.ports else None,
        "local_directory": place.base,
        "directory": str(home / "store"),
        "owner": place.owner,
        "info": str(info),
        "log": str(log),
        "trainer": _trainer(request.trainer),
        "python": sys.executable,
        "libtorch": None if beside == libraries.resolve() and request.trainer is None else str(libraries),
        "memory_limit": request.memory_limit,
        "disk_limit": request.disk_limit,
        "threads": request.threads,
    }


def _trainer(own: str | None) -> str:
    """Raises InstallError if the user's own is not here."""
    if own is None:
        return str(process.binary("lethe-trainer"))
    path = Path(own)
    if len(path.parts) == 1 and not path.exists():
        with contextlib.suppress(ImportError):
            from pyspark import SparkFiles

            path = Path(SparkFiles.get(own))
    if not os.access(path, os.X_OK) or not path.is_file():
        raise InstallError(
            f"the trainer {own} of lethe.Settings is no program on this host ({socket.gethostname()}); "
            f"ship it: "
            'spark.sparkContext.addFile("…"), or --files'
        )
    return str(path.absolute())


def _spawn(program: str, config: dict[str, Any], log: Path) -> int:
    """Starts it in its own session and as nobody's child here: Spark waits for the children of its
    workers."""
    log.touch(mode=0o600)
    script = 'exec 3<&0; "$@" <&3 3<&- >/dev/null 2>>"$0" & echo $!'
    done = subprocess.run(
        ["/bin/sh", "-c", script, str(log), program],
        input=json.dumps(config) + "\n",
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**HEAP, **process.environment()},
        check=False,
        timeout=30,
    )
    if done.returncode != 0:
        raise ProcessError(f"/bin/sh could not start {program} (status {done.returncode})")
    return int(done.stdout)
