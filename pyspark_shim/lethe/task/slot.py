"""The task that holds a slot: it opens the slot on its executor and waits until it is released."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pyarrow as pa

from lethe import flight
from lethe.errors import InstallError, LetheError
from lethe.flight import Peer
from lethe.task.executor import ensure_executor
from lethe.task.place import Place, spark_place
from lethe.task.request import Request
from lethe.version import PROTOCOL

#: What each task yields, one row.
SCHEMA = "slot int, error string"
#: How often a slot is opened again after its executor has died.
RETRIES = 8
FIRST_PAUSE = 0.2
LONGEST_PAUSE = 5.0


def hold_slot(request: Request, place: Place, experiment: str, slot: int, gpu: str | None) -> str | None:
    """Holds the slot until it is released; returns why it could not, if so. Never raises Lethe's errors.

    When the executor dies, another is started in its place and the slot is opened again.
    """
    message = {
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


def slot_task(
    request: Request, experiment: str, slots: tuple[int, ...]
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
            error = hold_slot(request, spark_place(request.driver), experiment, slot, gpu)
        except LetheError as failure:
            error = str(failure)
        yield pa.RecordBatch.from_pydict(
            {"slot": [slot], "error": [error]},
            schema=pa.schema([("slot", pa.int32()), ("error", pa.string())]),
        )

    return hold
