"""An Arrow table of this process as a Spark DataFrame."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pyarrow as pa

from lethe.dataset.columns import is_array

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

#: Rows of the table that are one row of bytes, at most; and how many of these there are, so that all
#: executors get some.
ROWS, PIECES = 16_384, 64


def frame_of(spark: SparkSession, table: pa.Table) -> DataFrame:
    """The table's rows, in its order. They travel as bytes, which the tasks read: `createDataFrame` takes
    Arrow tables from Spark 4.0 on, moves times that have no zone by the session's, and is slower."""
    from pyspark.sql.pandas.types import from_arrow_schema, to_arrow_schema

    # mapInArrow's schema may not have all names that a table may have.
    called = [f"c{place}" for place in range(table.num_columns)]
    kinds = zip(called, table.schema.types, strict=True)
    schema = from_arrow_schema(pa.schema([(name, _carried(kind)) for name, kind in kinds]))
    # Not safe: Spark's times have microseconds.
    plain = table.rename_columns(called).cast(to_arrow_schema(schema), safe=False)
    size = max(1, min(ROWS, -(-len(plain) // PIECES)))
    pieces = [(_written(plain.slice(first, size)),) for first in range(0, max(1, len(plain)), size)]
    return spark.createDataFrame(pieces, "rows binary").mapInArrow(_read, schema).toDF(*table.column_names)


def _carried(kind: pa.DataType) -> pa.DataType:
    """What Spark has instead of Arrow's other kinds of lists and strings."""
    if is_array(kind):
        return pa.list_(_carried(kind.value_type))
    return _carried(kind.value_type) if pa.types.is_dictionary(kind) else kind


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
