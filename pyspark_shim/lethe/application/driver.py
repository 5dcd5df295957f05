"""The lethe-driver process: a child that ends with this one."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import time
from pathlib import Path
from typing import Any

from lethe import process
from lethe.errors import InstallError, ProcessError
from lethe.version import PROTOCOL, installed

#: Seconds that it gets to end by itself.
END_WITHIN = 5.0
#: Its answer is one line of JSON, bytes.
ANSWER_BYTES = 65_536


class DriverProcess:
    """Starts the driver and waits until it serves.

    Raises ProcessError if it does not start, InstallError if it is of another version.
    """

    def __init__(self, token: str, bind: str, port: int, folder: Path, copies: int, timeout: float) -> None:
        self.log = folder / "driver.log"
        self.log.touch(mode=0o600)
        config = {
            "token": token,
            "bind": bind,
            "port": port,
            "owner": process.owner(os.getpid()),
            "directory": str(folder / "driver"),
            "log": str(self.log),
            "copies": copies,
        }
        program = process.binary("lethe-driver")
        with open(self.log, "ab") as log:
            # Its own session: Ctrl-C is for this process, which then tells the driver.
            self._child = subprocess.Popen(
                [program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, start_new_session=True
            )
        try:
            answer = self._handshake(config, timeout)
        except BaseException:
            self.close()
            raise
        self.port = int(answer["port"])
        self.pid = self._child.pid

    def _handshake(self, config: dict[str, Any], timeout: float) -> dict[str, Any]:
        assert self._child.stdin is not None
        try:
            self._child.stdin.write(json.dumps(config).encode() + b"\n")
            self._child.stdin.flush()
        except BrokenPipeError:
            pass
        line = self._line(timeout)
        try:
            answer: dict[str, Any] = json.loads(line)
        except ValueError:
            what = (
                "ended while it started"
                if self._child.poll() is not None
                else f"did not answer within {timeout:.0f} s"
            )
            raise ProcessError(
                f"lethe-driver {what}; its log is {self.log}\n{process.last_lines(self.log)}"
            ) from None
        if answer.get("type") != "ready":
            raise ProcessError(f"lethe-driver could not start: {answer.get('error', 'no reason given')}")
        if (answer["protocol"], answer["version"]) != (PROTOCOL, installed("lethe")):
            raise InstallError(
                f"lethe-driver is {answer['version']} (protocol {answer['protocol']}), the package lethe is "
                f"{installed('lethe')} (protocol {PROTOCOL}); install the wheel again"
            )
        return answer

    def _line(self, timeout: float) -> bytes:
        assert self._child.stdout is not None
        descriptor, end, line = self._child.stdout.fileno(), time.monotonic() + timeout, b""
        while not line.endswith(b"\n") and len(line) < ANSWER_BYTES:
            left = end - time.monotonic()
            if left <= 0 or not select.select([descriptor], [], [], left)[0]:
                break
            chunk = os.read(descriptor, 4096)
            if not chunk:
                # Its stdout is closed: it has ended, or is about to.
                process.wait_until(lambda: self._child.poll() is not None, 1.0)
                break
            line += chunk
        return line

    def alive(self) -> bool:
        return self._child.poll() is None

    def close(self) -> None:
        """Ends it: it ends when its stdin does."""
        if self._child.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._child.stdin.close()
        try:
            self._child.wait(END_WITHIN)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        if self._child.stdout is not None:
            self._child.stdout.close()
