"""The form in which weights travel: see `tensors` of the crate `flight`."""

from __future__ import annotations

import pyarrow as pa

#: One chunk of a tensor, bytes.
CHUNK_BYTES = 8 << 20

SCHEMA = pa.schema(
    [
        pa.field("name", pa.string(), nullable=False),
        pa.field("dtype", pa.string(), nullable=False),
        pa.field("shape", pa.list_(pa.field("item", pa.int64())), nullable=False),
        pa.field("data", pa.large_binary(), nullable=False),
    ]
)
