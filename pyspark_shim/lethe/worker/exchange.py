"""A worker's exchange with its executor: attempts and decisions in, reports and ends out."""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from lethe import flight
from lethe.version import PROTOCOL, installed

#: Reports of one message.
REPORTS = 1000
#: Printed text of one message, characters; at most four times as many bytes.
TEXT = 16_000


@dataclass(frozen=True)
class Job:
    """The message `Run`, and when it came (monotonic seconds)."""

    run: dict[str, Any]
    arrived: float


class Attempt:
    """What the executor says of the attempt that runs."""

    def __init__(self, trial: int, attempt: int) -> None:
        self.trial, self.attempt = trial, attempt
        self.stopped = False
        self._decided = threading.Condition()
        self._verdict: str | None = None

    def decide(self, verdict: str) -> None:
        with self._decided:
            self._verdict = verdict
            self._decided.notify_all()

    def stop(self) -> None:
        with self._decided:
            self.stopped = True
            self._decided.notify_all()

    def verdict(self) -> str:
        """Waits for the decision on the report that was sent last. The process ends with its executor, and a
        trial that is to stop need not wait."""
        with self._decided:
            self._decided.wait_for(lambda: self._verdict is not None or self.stopped)
            verdict, self._verdict = self._verdict, None
        return "stop" if self.stopped or verdict is None else verdict


class Exchange:
    """Safe to send on from several threads."""

    def __init__(self, executor: str, token: str, worker: str) -> None:
        self.peer = flight.Peer(executor, token)
        self._writer, self._reader = self.peer.exchange({"type": "worker"})
        self._sending = threading.Lock()
        self._jobs: queue.Queue[Job | None] = queue.Queue(maxsize=2)
        self._current: Attempt | None = None
        device = "cuda:0" if os.environ.get("CUDA_VISIBLE_DEVICES") else "cpu"
        hello = {"protocol": PROTOCOL, "version": installed("lethe"), "worker": worker}
        self.send({"type": "hello", **hello, "pid": os.getpid(), "device": device})
        threading.Thread(target=self._listen, name="lethe-exchange", daemon=True).start()

    def send(self, message: dict[str, Any], *, last: bool = False) -> None:
        """last: nothing follows. The executor takes it for this process's end, and hands it no attempt."""
        if last:
            message = {**message, "last": True}
        # What is no text in UTF-8, as of a file's name, is replaced: the other side would refuse all of it.
        text = json.dumps(message, allow_nan=False, ensure_ascii=False)
        data = pa.py_buffer(text.encode("utf-8", "replace"))
        with self._sending:
            self._writer.write_metadata(data)
            if last:
                self._writer.done_writing()

    def jobs(self) -> Iterator[Job]:
        """One after the other, until the executor needs no more."""
        while True:
            job = self._jobs.get()
            if job is None:
                return
            yield job

    def begin(self, trial: int, attempt: int) -> Attempt:
        current = self._current
        assert current is not None
        assert (current.trial, current.attempt) == (trial, attempt)
        return current

    def _listen(self) -> None:
        try:
            while True:
                self._heard(json.loads(self._reader.read_chunk().app_metadata.to_pybytes()))
        except StopIteration:
            pass
        except BaseException as error:
            print(f"lethe: the exchange with the executor broke: {error!r}", file=sys.__stderr__, flush=True)
        finally:
            # The executor has gone, or has given this worker up: no code of the user's goes on.
            os._exit(1)

    def _heard(self, message: dict[str, Any]) -> None:
        if message["type"] == "run":
            spec = message["spec"]
            self._current = Attempt(spec["trial"], spec["attempt"])
            self._jobs.put(Job(message, time.monotonic()))
        elif message["type"] == "exit":
            self._jobs.put(None)
        else:
            current = self._current
            if current is None or (current.trial, current.attempt) != (message["trial"], message["attempt"]):
                return
            if message["type"] == "decision":
                current.decide(message["verdict"])
            elif message["type"] == "stop":
                current.stop()
