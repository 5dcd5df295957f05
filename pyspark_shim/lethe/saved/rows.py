"""Raw rows as a model was trained on them: the columns that it needs, of the types that they had."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from lethe.dataset.arrow import as_table
from lethe.dataset.columns import check_exists, element, is_number, is_string, is_time
from lethe.errors import DataError
from lethe.saved.signature import Signature


def check(signature: Signature, kinds: Mapping[str, pa.DataType]) -> None:
    """Raises DataError, which names a column that is missing, or of another kind than in training."""
    for name, trained in signature.required.items():
        check_exists(name, list(kinds))
        _check_kind(name, trained, kinds[name])


def needed(signature: Signature, rows: Any) -> pa.Table:
    """The columns of a table that the model needs, of pyarrow, pandas, polars, or with Arrow's PyCapsule
    interface.

    Raises DataError if one is missing or its values are of no one type.
    """
    if is_pandas(rows):
        names = _present(signature, [str(column) for column in rows.columns])
        try:
            return as_table(rows[names], "predict")
        except (pa.ArrowException, ValueError, TypeError) as error:
            text = " ".join(str(part) for part in error.args)
            raise DataError(f"predict: the rows have a column of no one type: {text}; cast it") from None
    table = as_table(rows, "predict")
    return table.select(_present(signature, table.column_names))


def _present(signature: Signature, names: list[str]) -> list[str]:
    """Those of the model's columns that rows with these have."""
    for name in signature.required:
        check_exists(name, names)
    return [name for name in signature.columns.names if name in names]


def is_pandas(rows: Any) -> bool:
    return type(rows).__module__.split(".")[0] == "pandas" and hasattr(rows, "columns")


def fitted(signature: Signature, table: pa.Table) -> pa.Table:
    """Rows with the model's columns, for its preprocessing.

    Raises DataError, which names the column that is missing or does not fit.
    """
    check(signature, {field.name: field.type for field in table.schema})
    columns = {}
    for field in signature.columns:
        if field.name in signature.absent and field.name not in table.column_names:
            columns[field.name] = pa.chunked_array([pa.nulls(table.num_rows, field.type)])
        else:
            exact = bool(signature.preprocessing.queries)
            columns[field.name] = _fitted(field, table.column(field.name), exact)
    return pa.table(columns)


def pieces(table: pa.Table, rows: int) -> Iterator[pa.Table]:
    """At most so many rows each; one of none for a table of none."""
    for start in range(0, max(1, table.num_rows), rows):
        yield table.slice(start, rows)


def _check_kind(name: str, trained: pa.DataType, kind: pa.DataType) -> None:
    if pa.types.is_null(kind):
        # Nulls may be filled.
        return
    (inner, depth), (own, own_depth) = element(trained), element(kind)
    if depth == own_depth == 0 and is_time(trained) and is_time(kind):
        return
    if depth == own_depth and _numeric(inner) and _numeric(own):
        return
    if depth == own_depth == 0 and is_string(trained) and is_string(kind):
        return
    if trained.equals(kind):
        return
    raise DataError(f"the column {name!r} was {trained} in training and is {kind} here; cast it to {trained}")


def _numeric(kind: pa.DataType) -> bool:
    return is_number(kind) or bool(pa.types.is_boolean(kind))


def _fitted(field: pa.Field, column: pa.ChunkedArray, exact: bool) -> pa.ChunkedArray:
    """exact: SQL treats whole numbers otherwise than others, so that a query needs the very type."""
    kind = column.type
    if kind.equals(field.type):
        return column
    if pa.types.is_null(kind) or is_time(field.type) or exact:
        try:
            return column.cast(field.type, safe=not is_time(field.type))
        except pa.ArrowException as error:
            text = str(error).splitlines()[0]
            raise DataError(
                f"the column {field.name!r} was {field.type} in training and is {kind} here, and does not "
                f"fit: {text}; cast it"
            ) from None
    return column
