"""The task that holds a slot: it opens the slot on its executor and waits until it is released."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa

from lethe import flight
from lethe.errors import InstallError, LetheError
from lethe.flight import Peer
from lethe.task.executor import ensure_executor, folder
from lethe.task.place import Place, spark_place
from lethe.task.request import Request
from lethe.version import PROTOCOL

#: What each task yields, one row.
SCHEMA = "slot int, error string"
#: How often a slot is opened again after its executor has died.
RETRIES = 8
FIRST_PAUSE = 0.2
LONGEST_PAUSE = 5.0


def hold_slot(
    request: Request,
    place: Place,
    experiment: str,
    slot: int,
    gpu: str | None,
    function: bytes | None = None,
) -> str | None:
    """Holds the slot until it is released; returns why it could not, if so. Never raises Lethe's errors.

    function: the Python function that its worker runs, pickled; None for those of the native trainer.

    When the executor dies, another is started in its place and the slot is opened again.
    """
    message: dict[str, Any] = {
        "protocol": PROTOCOL,
        "version": request.version,
        "experiment": experiment,
        "slot": slot,
        "gpu": gpu,
    }
    lost = ""
    for attempt in range(RETRIES + 1):
        if attempt:
            time.sleep(min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (attempt - 1)))
        peer = None
        try:
            peer = Peer(str(ensure_executor(request, place)["address"]), request.token)
            if function is not None:
                message["function"] = hand_over(function, request, place)
            for event in peer.stream("slot.open", message):
                if event["type"] == "released":
                    return None
                if event["type"] == "failed":
                    return str(event["error"])
            lost = "its executor closed the slot without a word"
        except flight.LOST as failure:
            lost = flight.reason(failure)
        except flight.FAILED as failure:
            return flight.reason(failure)
        except InstallError as failure:
            return str(failure)
        except (LetheError, OSError) as failure:
            lost = str(failure)
            if "cannot reach" in lost:
                # The driver has gone; the executor said so, and has tried long enough.
                return lost
        finally:
            if peer is not None:
                peer.close()
    return f"slot {slot} lost its executor {RETRIES + 1} times, last: {lost}"


def hand_over(function: bytes, request: Request, place: Place) -> str:
    """Writes the function, and this interpreter's module path, where the executor's workers look for them;
    returns the file's name."""
    home = folder(place, request.application) / "store" / "functions"
    name = hashlib.sha256(function).hexdigest()[:32]
    path = json.dumps([os.path.abspath(part) if part else os.getcwd() for part in sys.path])
    for file, content in ((home / f"{name}.path", path.encode()), (home / name, function)):
        # Each task of the host writes it; all write the same.
        unfinished = home / f"{name}-{secrets.token_hex(8)}"
        with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            out.write(content)
        unfinished.rename(file)
    return name


def slot_task(
    request: Request, experiment: str, slots: tuple[int, ...], function: bytes | None = None
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """The function for `mapInArrow` over a range with one partition a slot; `slots` are their numbers."""

    def hold(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        from pyspark import TaskContext

        for _ in batches:
            pass
        context = TaskContext.get()
        slot, gpu = slots[0], None
        if context is not None:
            slot = slots[context.partitionId()]
            resource = context.resources().get("gpu")
            gpu = ",".join(resource.addresses) if resource is not None else None
        try:
            error = hold_slot(request, spark_place(request.driver), experiment, slot, gpu, function)
        except LetheError as failure:
            error = str(failure)
        yield pa.RecordBatch.from_pydict(
            {"slot": [slot], "error": [error]},
            schema=pa.schema([("slot", pa.int32()), ("error", pa.string())]),
        )

    return hold
