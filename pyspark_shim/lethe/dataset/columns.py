"""Which columns there are, and whether their types can be trained on."""

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
    near = [lower[found] for found in difflib.get_close_matches(str(name).lower(), list(lower), 3, 0.5)]
    listed = ", ".join(near or list(columns)[:20])
    hint = f"did you mean {listed}?" if near else f"there are: {listed}"
    raise DataError(f"there is no column {name!r}; {hint}")


def is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def is_array(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def is_string(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
        or (pa.types.is_dictionary(kind) and is_string(kind.value_type))
    )


def is_time(kind: pa.DataType) -> bool:
    return bool(pa.types.is_date(kind) or pa.types.is_timestamp(kind))


def element(kind: pa.DataType) -> tuple[pa.DataType, int]:
    """The type of an array's innermost elements, and how deep they lie; 0 for what is no array."""
    depth = 0
    while is_array(kind):
        kind, depth = kind.value_type, depth + 1
    return kind, depth


def is_normal(kind: pa.DataType) -> bool:
    """Whether its elements have a mean: numbers, or arrays of numbers."""
    return is_number(element(kind)[0])


def stored_type(kind: pa.DataType) -> pa.DataType:
    """How it is put: strings are plain ones, whichever way they were encoded."""
    if pa.types.is_dictionary(kind):
        return stored_type(kind.value_type)
    return pa.large_string() if pa.types.is_string_view(kind) else kind


def can_be_put(kind: pa.DataType) -> bool:
    """Whether an executor can keep it; not whether it can be trained on."""
    inner = element(stored_type(kind))[0]
    return not (
        pa.types.is_null(inner) or pa.types.is_union(inner) or isinstance(inner, pa.BaseExtensionType)
    )


def check_feature(name: str, kind: pa.DataType) -> None:
    """Raises DataError if the column is neither numbers, booleans, strings nor arrays of numbers."""
    inner, depth = element(kind)
    if is_number(inner) or pa.types.is_boolean(inner) or (depth == 0 and is_string(kind)):
        return
    if depth == 0 and is_time(kind):
        remedy = (
            'take it as a number (dates="number": days or seconds since 1970), or leave it out of features'
        )
    elif depth:
        remedy = f'cast it: df.withColumn("{name}", col("{name}").cast("array<float>"))'
    else:
        remedy = "make it numbers, strings or arrays of numbers, or leave it out of features"
    raise DataError(f"the feature {name!r} has type {kind}, which cannot be trained on; {remedy}")


def check_label(name: str, kind: pa.DataType, loss: str | None) -> None:
    """Raises DataError if the label's type does not fit the loss."""
    if loss == "cross_entropy":
        if pa.types.is_integer(kind) or pa.types.is_boolean(kind) or is_string(kind):
            return
        raise DataError(
            f"the label {name!r} has type {kind}, and cross_entropy needs classes: whole numbers from 0, or "
            f'strings; cast it: df.withColumn("{name}", col("{name}").cast("int"))'
        )
    if loss is None and is_string(kind):
        return
    if not is_number(kind) and not pa.types.is_boolean(kind):
        raise DataError(
            f"the label {name!r} has type {kind}, which is not a number; "
            f'cast it: df.withColumn("{name}", col("{name}").cast("float"))'
        )


def label_kind(kind: pa.DataType | None, loss: str | None) -> str:
    """How the label is handed to the trainer: as a class (int64) or a value (float32)."""
    if loss == "cross_entropy":
        return "class"
    classes = kind is not None and (pa.types.is_integer(kind) or pa.types.is_boolean(kind) or is_string(kind))
    return "class" if loss is None and classes else "value"


def width(schema: pa.Schema, features: Sequence[str], batch: pa.RecordBatch) -> int | None:
    """0 for a batch with rows: how wide they are, executors see when they make tensors of them."""
    return None if batch.num_rows == 0 else 0
