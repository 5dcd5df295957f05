"""Weights as Arrow: one row a chunk, `name, dtype, shape, data`; see the crate `flight`, `tensors`."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import torch
from torch import nn

from lethe.errors import ModelError
from lethe.model.schema import CHUNK_BYTES, SCHEMA

_DTYPES = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")


def named(module: Any) -> dict[str, torch.Tensor]:
    """Parameters and buffers by their dotted names, those that are tied under each of their names."""
    parameters = module.named_parameters(remove_duplicate=False)
    return dict(itertools.chain(parameters, module.named_buffers(remove_duplicate=False)))


def batches(tensors: dict[str, torch.Tensor]) -> Iterator[pa.RecordBatch]:
    """The tensors as record batches of `SCHEMA`, little-endian and contiguous; small ones together.

    Raises ModelError if one has a dtype that cannot travel.
    """
    rows: list[tuple[str, str, list[int], bytes]] = []
    size = 0
    for name, tensor in tensors.items():
        dtype = str(tensor.dtype).removeprefix("torch.")
        if dtype not in _DTYPES:
            raise ModelError(
                f"the weight {name} has dtype {dtype}, which cannot be sent; use one of {', '.join(_DTYPES)}"
            )
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        data = flat.view(torch.uint8).numpy() if flat.numel() else b""
        for start in range(0, max(1, len(data)), CHUNK_BYTES):
            chunk = bytes(data[start : start + CHUNK_BYTES])
            if rows and size + len(chunk) > CHUNK_BYTES:
                yield _batch(rows)
                rows, size = [], 0
            rows.append((name, dtype, list(tensor.shape), chunk))
            size += len(chunk)
    if rows:
        yield _batch(rows)


def _batch(rows: list[tuple[str, str, list[int], bytes]]) -> pa.RecordBatch:
    columns = zip(*rows, strict=True)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)]
    return pa.record_batch(arrays, schema=SCHEMA)


def read(table: pa.Table) -> dict[str, torch.Tensor]:
    """The tensors of a table of `SCHEMA`, by name."""
    found: dict[str, torch.Tensor] = {}
    rows = table.select(["name", "dtype", "shape", "data"]).to_batches()
    entries = (
        row for batch in rows for row in zip(*(column.to_pylist() for column in batch.columns), strict=True)
    )
    for (name, dtype), chunks in itertools.groupby(entries, key=lambda row: (row[0], row[1])):
        parts = list(chunks)
        data = bytearray(b"".join(part[3] for part in parts))
        kind = getattr(torch, dtype)
        flat = torch.frombuffer(data, dtype=kind) if data else torch.empty(0, dtype=kind)
        found[name] = flat.reshape(parts[0][2])
    return found


def load(module: nn.Module, weights: dict[str, torch.Tensor]) -> None:
    """Copies weights into the module, by name.

    Raises ModelError if the module has others: its generator does not depend on hparams and seed alone.
    """
    own = named(module)
    for name, tensor in own.items():
        value = weights.get(name)
        if value is None:
            # A tied tensor may have travelled under one of its names.
            if any(other in weights for other, twin in own.items() if twin is tensor):
                continue
            raise ModelError(
                f"the trained weights have no {name}; does the generator make the same module each time?"
            )
        if value.shape != tensor.shape:
            raise ModelError(
                f"the trained weight {name} has shape {list(value.shape)}, the module's has "
                f"{list(tensor.shape)}; "
                "does the generator make the same module each time?"
            )
        with torch.no_grad():
            tensor.copy_(value)
