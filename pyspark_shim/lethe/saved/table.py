"""Predictions of tables in this process: pandas, pyarrow, and what hands its columns over as Arrow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from lethe.dataset.arrow import as_table
from lethe.saved.outputs import Wanted, fields
from lethe.saved.predictor import Predictor
from lethe.saved.rows import check, is_pandas, needed


def predicted(predictor: Predictor, rows: Any, wanted: Wanted) -> Any:
    """Of the kind of the rows: see `SavedModel.predict`."""
    if is_pandas(rows):
        return _pandas(predictor, rows, wanted)
    if isinstance(rows, pa.RecordBatchReader):
        return _streamed(predictor, rows, wanted)
    whole = as_table(rows, "predict")
    wanted.check_free(whole.column_names)
    for field, column in zip(
        fields(predictor.signature, wanted), _columns(predictor, whole, wanted), strict=True
    ):
        whole = whole.append_column(field, column)
    return whole


def _columns(predictor: Predictor, rows: Any, wanted: Wanted) -> list[pa.ChunkedArray]:
    parts = [arrays for _, arrays in predictor.columns(needed(predictor.signature, rows), wanted)]
    return [pa.chunked_array(column) for column in zip(*parts, strict=True)]


def _pandas(predictor: Predictor, frame: Any, wanted: Wanted) -> Any:
    """With its own index and its other columns untouched, whatever they hold."""
    import pandas as pd

    wanted.check_free([str(name) for name in frame.columns])
    columns = _columns(predictor, frame, wanted)
    added = {
        name: pd.Series(column.to_pandas().array, index=frame.index)
        for name, column in zip(wanted.names, columns, strict=True)
    }
    return frame.assign(**added)


def _streamed(predictor: Predictor, reader: pa.RecordBatchReader, wanted: Wanted) -> pa.RecordBatchReader:
    """Batch by batch, as the reader of the answer asks for them."""
    wanted.check_free(reader.schema.names)
    check(predictor.signature, {field.name: field.type for field in reader.schema})
    schema = pa.schema([*reader.schema, *fields(predictor.signature, wanted)])
    return pa.RecordBatchReader.from_batches(schema, with_predictions(predictor, reader, wanted))


def with_predictions(
    predictor: Predictor, batches: Iterator[pa.RecordBatch], wanted: Wanted
) -> Iterator[pa.RecordBatch]:
    """The batches, cut at `batch_size` rows, with the columns of `fields`."""
    added = fields(predictor.signature, wanted)
    for batch in batches:
        whole = pa.Table.from_batches([batch])
        start = 0
        for piece, arrays in predictor.columns(needed(predictor.signature, whole), wanted):
            cut = batch.slice(start, piece.num_rows)
            start += piece.num_rows
            yield pa.RecordBatch.from_arrays(
                [*cut.columns, *arrays], schema=pa.schema([*batch.schema, *added])
            )
