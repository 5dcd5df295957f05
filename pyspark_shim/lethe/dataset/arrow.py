"""Tables of other libraries as Arrow's."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from lethe.errors import DataError


def as_table(data: Any, what: str = "Dataset.from_arrow") -> pa.Table:
    """A pyarrow Table, RecordBatch or RecordBatchReader, a pandas or polars frame, or whatever hands its
    columns over by Arrow's PyCapsule interface. Without copies, where the other library makes none.

    Raises DataError if it is none of these.
    """
    if isinstance(data, pa.Table):
        return data
    if isinstance(data, pa.RecordBatch):
        return pa.Table.from_batches([data])
    if isinstance(data, pa.RecordBatchReader):
        return data.read_all()
    if type(data).__module__.split(".")[0] == "pandas" and hasattr(data, "columns"):
        # Its index is no column.
        return pa.Table.from_pandas(data, preserve_index=False).replace_schema_metadata(None)
    if type(data).__module__.startswith("pyspark.sql"):
        raise DataError(f"{what} takes no Spark DataFrame; use Dataset.from_spark(df, …), or df.toArrow()")
    try:
        if hasattr(data, "__arrow_c_stream__"):
            return _castable(pa.RecordBatchReader.from_stream(data).read_all())
        if hasattr(data, "__arrow_c_array__"):
            return pa.Table.from_batches([pa.record_batch(data)])
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise DataError(f"{what}: a {type(data).__name__} gave no columns: {error}") from None
    raise DataError(
        f"{what} takes a table: of pyarrow, pandas, polars, or with __arrow_c_stream__; not "
        f"{type(data).__name__}"
    )


def _castable(table: pa.Table) -> pa.Table:
    """Polars' categories have values of a type from which Arrow's own library casts nothing."""
    for place, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type) and pa.types.is_string_view(field.type.value_type):
            chunks = [
                pa.DictionaryArray.from_arrays(chunk.indices, chunk.dictionary.cast(pa.large_string()))
                for chunk in table.column(place).chunks
            ]
            kind = pa.dictionary(field.type.index_type, pa.large_string())
            table = table.set_column(place, field.name, pa.chunked_array(chunks, kind))
    return table
