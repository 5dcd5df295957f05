"""The task that puts its partition of a DataFrame into its executor."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import pyarrow as pa

from lethe import flight
from lethe.dataset.columns import width
from lethe.errors import LetheError
from lethe.flight import Peer
from lethe.task.executor import ensure_executor
from lethe.task.place import Place, spark_place
from lethe.task.request import Request

#: What each task yields, one row: `lost` says that another try may help.
SCHEMA = "partition int, rows bigint, width int, address string, error string, lost boolean"


def put_partition(
    request: Request,
    place: Place,
    dataset: str,
    partition: int,
    schema: pa.Schema,
    batches: Iterable[pa.RecordBatch],
) -> tuple[int, str]:
    """Puts one partition; returns its rows and the executor's address. An empty one is a schema only."""
    address = str(ensure_executor(request, place)["address"])
    peer = Peer(address, request.token)
    try:
        what = {"type": "partition", "dataset": dataset, "partition": partition}
        rows = peer.put(what, schema, (fitted(batch, schema) for batch in batches))
    finally:
        peer.close()
    return rows, address


def fitted(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The batch with exactly this schema: Spark's own differs in names of list items and in nullability."""
    columns = [column.cast(field.type) for column, field in zip(batch.columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def put_task(
    request: Request,
    dataset: str,
    schema: pa.Schema,
    features: tuple[str, ...],
    only: frozenset[int] | None = None,
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """The function for `mapInArrow`. With `only`, tasks of other partitions return at once: theirs are held.

    It yields Lethe's errors and raises none: a task that fails would
    end the job (in local mode at once) with a Java stack trace first."""

    def put(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        from pyspark import TaskContext

        context = TaskContext.get()
        partition = context.partitionId() if context is not None else 0
        rows, address, error, lost = 0, None, None, False
        widths: list[int] = []

        def measured() -> Iterator[pa.RecordBatch]:
            for batch in batches:
                found = None if widths else width(schema, features, batch)
                if found is not None:
                    widths.append(found)
                yield batch

        try:
            # Unread, its rows are not computed, but for the first batch that Spark may have begun.
            if only is None or partition in only:
                rows, address = put_partition(
                    request, spark_place(request.driver), dataset, partition, schema, measured()
                )
        except flight.LOST as failure:
            error, lost = flight.reason(failure), True
        except flight.FAILED as failure:
            error = flight.reason(failure)
        except (LetheError, OSError) as failure:
            error = str(failure)
        yield pa.RecordBatch.from_pydict(
            {
                "partition": [partition],
                "rows": [rows],
                "width": [widths[0] if widths else None],
                "address": [address],
                "error": [error],
                "lost": [lost],
            },
            schema=pa.schema(
                [
                    ("partition", pa.int32()),
                    ("rows", pa.int64()),
                    ("width", pa.int32()),
                    ("address", pa.string()),
                    ("error", pa.string()),
                    ("lost", pa.bool_()),
                ]
            ),
        )

    return put
