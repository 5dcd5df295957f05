"""An Arrow table of this process as a Spark DataFrame."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

#: Rows of the table that are one row of bytes, at most; and how many of these there are, so that all
#: executors get some.
ROWS, PIECES = 16_384, 64

Task = Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]


def frame_of(spark: SparkSession, table: pa.Table) -> DataFrame:
    """The table's rows, in its order, as bytes that `reading` reads: so they keep types that Spark does not
    know, and times that have no zone."""
    size = max(1, min(ROWS, -(-len(table) // PIECES)))
    pieces = [(_written(table.slice(first, size)),) for first in range(0, max(1, len(table)), size)]
    return spark.createDataFrame(pieces, "rows binary")


def reading(task: Task) -> Task:
    """The function for `mapInArrow` of that frame, of one which is to be given the table's rows."""

    def read(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        return task(_read(batches))

    return read


def _written(table: pa.Table) -> bytearray:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytearray(sink.getvalue())


def _read(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for content in batch.column(0):
            with pa.ipc.open_stream(content.as_buffer()) as reader:
                yield from reader
