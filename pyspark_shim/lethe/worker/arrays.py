"""Files of arrays as Arrow: one row a chunk, `name, dtype, shape, data`; see `tensors` of the crate
`flight`."""

from __future__ import annotations

import itertools
import os

import pyarrow as pa

from lethe.model.schema import CHUNK_BYTES, SCHEMA
from lethe.worker.tree import Arrays


def write(path: str, arrays: Arrays) -> None:
    """The file is there complete or not at all."""
    unfinished = f"{path}.unfinished"
    with pa.OSFile(unfinished, "wb") as file, pa.ipc.new_file(file, SCHEMA) as writer:
        for name, (dtype, shape, data) in arrays.items():
            for start in range(0, max(1, len(data)), CHUNK_BYTES):
                chunk = data[start : start + CHUNK_BYTES]
                columns = [
                    pa.array([name], pa.string()),
                    pa.array([dtype], pa.string()),
                    pa.array([shape], SCHEMA.field("shape").type),
                    pa.array([chunk], pa.large_binary()),
                ]
                writer.write_batch(pa.record_batch(columns, schema=SCHEMA))
    os.rename(unfinished, path)


def read(path: str) -> Arrays:
    with pa.OSFile(path, "rb") as file:
        rows = pa.ipc.open_file(file).read_all().to_pylist()
    found: Arrays = {}
    for name, chunks in itertools.groupby(rows, key=lambda row: row["name"]):
        parts = list(chunks)
        found[name] = (parts[0]["dtype"], parts[0]["shape"], b"".join(part["data"] for part in parts))
    return found
