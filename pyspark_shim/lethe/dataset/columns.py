"""Which columns, and whether their types can be trained on."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import pyarrow as pa

from lethe.errors import DataError


def check_exists(name: str, columns: Sequence[str]) -> None:
    """Raises DataError, which lists near names, if there is no such column."""
    if name in columns:
        return
    lower = {column.lower(): column for column in columns}
    near = [lower[found] for found in difflib.get_close_matches(name.lower(), list(lower), n=3, cutoff=0.5)]
    listed = ", ".join(near or list(columns)[:20])
    hint = f"did you mean {listed}?" if near else f"there are: {listed}"
    raise DataError(f"there is no column {name!r}; {hint}")


def is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def is_array(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def stored_type(kind: pa.DataType) -> pa.DataType:
    """Booleans are put as 0 and 1."""
    return pa.int8() if pa.types.is_boolean(kind) else kind


def check_feature(name: str, kind: pa.DataType) -> None:
    """Raises DataError if the column is neither numbers nor arrays of numbers."""
    if is_number(stored_type(kind)) or (is_array(kind) and is_number(kind.value_type)):
        return
    if pa.types.is_decimal(kind):
        remedy = f'cast it: df.withColumn("{name}", col("{name}").cast("float"))'
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
        remedy = "encode it as numbers first (pyspark.ml.feature.StringIndexer), or leave it out of features"
    elif is_array(kind):
        remedy = f'cast it: df.withColumn("{name}", col("{name}").cast("array<float>"))'
    else:
        remedy = "make it numbers or arrays of numbers, or leave it out of features"
    raise DataError(
        f"the feature {name!r} has type {kind}, which is not a number or an array of numbers; {remedy}"
    )


def check_label(name: str, kind: pa.DataType, loss: str | None) -> None:
    """Raises DataError if the label's type does not fit the loss."""
    if loss == "cross_entropy":
        if pa.types.is_integer(stored_type(kind)):
            return
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            remedy = (
                "encode the classes as whole numbers from 0 (pyspark.ml.feature.StringIndexer, cast to int)"
            )
        else:
            remedy = f'cast it: df.withColumn("{name}", col("{name}").cast("int"))'
        raise DataError(
            f"the label {name!r} has type {kind}, and cross_entropy needs whole numbers (classes from 0); "
            f"{remedy}"
        )
    if not is_number(stored_type(kind)):
        raise DataError(
            f"the label {name!r} has type {kind}, which is not a number; "
            f'cast it: df.withColumn("{name}", col("{name}").cast("float"))'
        )


def label_kind(kind: pa.DataType | None, loss: str | None) -> str:
    """How the label is handed to the trainer: as a class (int64) or a value (float32)."""
    if loss == "cross_entropy":
        return "class"
    if loss is None and kind is not None and pa.types.is_integer(stored_type(kind)):
        return "class"
    return "value"


def width(schema: pa.Schema, features: Sequence[str], batch: pa.RecordBatch) -> int | None:
    """The number of features in a row: of an array, its first row counts. None for a batch without rows."""
    if batch.num_rows == 0:
        return None
    total = 0
    for name in features:
        if is_array(schema.field(name).type):
            first = batch.column(schema.get_field_index(name))[0].as_py()
            if first is None:
                return None
            total += len(first)
        else:
            total += 1
    return total
