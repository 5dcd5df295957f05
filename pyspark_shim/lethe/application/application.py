"""An application: what the experiments of one Spark session (or of a process without Spark) share."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from lethe import process
from lethe.application.driver import DriverProcess
from lethe.errors import ConfigError, LetheError, ProcessError
from lethe.flight import Peer
from lethe.session import interpreter
from lethe.session.base import Session
from lethe.session.failure import explain
from lethe.settings import Settings
from lethe.task.executor import ensure_executor
from lethe.task.place import Place
from lethe.task.request import Request
from lethe.version import installed, require_torch

LOOPBACK = "127.0.0.1"
#: Of a log that is kept, bytes.
LOG_BYTES = 10 << 20
#: Seconds that executors take to tell what they log.
LOGS_ARRIVE = 0.4


@dataclass(frozen=True)
class Stored:
    """A dataset that lies on the executors.

    width: the number of features.
    """

    name: str
    rows: int
    width: int


class Application:
    """Holds the token and the driver process. Made by `registry.application`."""

    def __init__(self, session: Session | None, settings: Settings) -> None:
        require_torch()
        if session is not None:
            _check_interpreter(session)
        self.session, self.settings = session, settings
        self.name = secrets.token_hex(6)
        self.token = secrets.token_hex(32)
        self.stored: dict[str, Stored] = {}
        self._owner = os.getpid()
        host = settings.driver_host or (session.driver_host() if session is not None else LOOPBACK)
        bind = settings.driver_bind or (
            None if settings.driver_host or session is None else session.driver_bind()
        )
        self.folder = Path(tempfile.mkdtemp(prefix="lethe-"))
        try:
            listens = resolved(bind or host)
            self.driver = DriverProcess(
                self.token,
                listens,
                settings.driver_port,
                self.folder,
                settings.copies,
                settings.start_timeout,
            )
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        self.address = joined(host, self.driver.port)
        # From here the driver is reached where it listens; the way that executors take may lead around.
        here = {"0.0.0.0": LOOPBACK, "::": "::1"}.get(listens, listens)
        self.peer = Peer(joined(here, self.driver.port), self.token)
        self.request = Request(
            application=self.name,
            token=self.token,
            driver=self.address,
            version=str(installed("lethe")),
            ports=settings.executor_ports,
            memory_limit=settings.memory_limit,
            disk_limit=settings.disk_limit,
            threads=settings.threads,
            trainer=settings.trainer,
            start_timeout=settings.start_timeout,
        )

    def local_place(self) -> Place:
        """Where there is no Spark: the executor belongs to this process."""
        base = self.folder / "local"
        base.mkdir(mode=0o700, exist_ok=True)
        return Place(str(base), process.owner(os.getpid()), LOOPBACK)

    def executor(self) -> Peer:
        """The local executor, started if need be."""
        return Peer(str(ensure_executor(self.request, self.local_place())["address"]), self.token)

    def alive(self) -> bool:
        return (
            self._owner == os.getpid()
            and self.driver.alive()
            and (self.session is None or self.session.alive())
        )

    def lost(self) -> ProcessError:
        """The error for a driver that has gone."""
        return ProcessError(
            f"lethe-driver (pid {self.driver.pid}) has ended; run lagom again, which starts another; "
            f"its log is {self.driver.log}\n{process.last_lines(self.driver.log)}".rstrip()
        )

    def keep_logs(self, target: Path) -> Path | None:
        """Copies what the driver has logged, and what executors have told it of theirs, to where it outlives
        the application: `driver.log`, `<executor>.log`, of each its end. None if that fails."""
        # What they have logged last is on its way.
        time.sleep(LOGS_ARRIVE)
        try:
            target.mkdir(parents=True, exist_ok=True, mode=0o700)
            for log in (self.driver.log, *(self.folder / "driver" / "logs").glob("*.log")):
                kept = target / log.name
                kept.touch(mode=0o600)
                kept.write_bytes(process.end_of(log, LOG_BYTES))
        except OSError:
            return None
        return target

    def close(self) -> None:
        """Ends the driver; executors follow within seconds. The log of a driver that had ended by itself is
        kept: an error names it. In a forked child it does nothing."""
        if self._owner != os.getpid():
            return
        ended = not self.driver.alive()
        self.peer.close()
        self.driver.close()
        self._end_local_executor()
        if ended:
            shutil.rmtree(self.folder / "driver", ignore_errors=True)
            shutil.rmtree(self.folder / "local", ignore_errors=True)
        else:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _end_local_executor(self) -> None:
        """Waits for the local executor, which goes when its driver does, before its files are removed."""
        from lethe.task.executor import folder, running

        place = self.folder / "local"
        if place.is_dir():
            info = folder(Place(str(place), {}, LOOPBACK), self.name) / "executor.json"
            process.wait_until(lambda: running(info) is None, 5.0)


def _check_interpreter(session: Session) -> None:
    try:
        interpreter.check(session)
    except LetheError:
        raise
    except Exception as error:
        raise explain(error, session, "run Python") from None


def joined(host: str, port: int) -> str:
    """`host:port`, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def resolved(host: str) -> str:
    """The IP address of a host's name.

    Raises ConfigError, which names the settings to use.
    """
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ConfigError(
            f"the driver's host {host!r} has no address ({error.strerror}); "
            "set Settings(driver_host=…) to an address by which executors reach this host"
        ) from None
    addresses = [str(entry[4][0]) for entry in found if entry[0] == socket.AF_INET]
    return addresses[0] if addresses else str(found[0][4][0])
