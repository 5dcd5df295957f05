"""Columns of Arrow as NumPy arrays and torch tensors, without a copy where their types allow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    import numpy as np
    import torch

#: Of one row of each input; None for one dimension, which the column has itself.
Shapes = Mapping[str, tuple[int, ...] | None]
FORMS = ("torch", "numpy", "arrow")


def elements(column: pa.Array) -> tuple[pa.Array, tuple[int, ...]]:
    """All elements of a column, row after row, and the shape of one row."""
    if pa.types.is_fixed_size_list(column.type):
        # Heeds where a slice begins, which `values` does not.
        return column.flatten(), (column.type.list_size,)
    return column, ()


def to_numpy(column: pa.Array, shape: tuple[int, ...] | None = None) -> np.ndarray[Any, Any]:
    """`[rows, *shape]`; read-only where it shares Arrow's memory. Booleans are bits in Arrow: a copy."""
    values, own = elements(column)
    found: np.ndarray[Any, Any] = values.to_numpy(zero_copy_only=not pa.types.is_boolean(values.type))
    return found.reshape(len(column), *(own if shape is None else shape))


def to_torch(column: pa.Array, shape: tuple[int, ...] | None = None) -> torch.Tensor:
    """As `to_numpy`. It shares Arrow's memory, which is this process's own: write to a clone of it."""
    import torch

    values, own = elements(column)
    size = (len(column), *(own if shape is None else shape))
    if len(values) == 0 or pa.types.is_boolean(values.type):
        return torch.tensor(values.to_numpy(zero_copy_only=False)).reshape(size)
    # Not from_numpy, which warns of memory that is not to be written to.
    return torch.from_dlpack(values).reshape(size)


def as_form(batch: pa.RecordBatch, form: str, shapes: Shapes) -> Any:
    """A dictionary by the columns' names; the record batch itself for "arrow"."""
    if form == "arrow":
        return batch
    convert = to_numpy if form == "numpy" else to_torch
    return {
        name: convert(column, shapes.get(name))
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
    }


def one_array(column: pa.ChunkedArray) -> pa.Array:
    """A table's column in one piece."""
    return (
        column.chunk(0)
        if column.num_chunks == 1
        else pa.concat_arrays(column.chunks)
        if column.chunks
        else (pa.array([], column.type))
    )
