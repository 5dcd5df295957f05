"""Loads Parquet files into one torch tensor by pyarrow, says so, and holds it: one of several processes that
train on the same rows. A file at a time, so that it takes no more memory than it must."""

import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch

files = sorted(Path(sys.argv[1]).glob("*.parquet"))
rows = sum(pq.read_metadata(file).num_rows for file in files)
features, label, begin = torch.empty(rows, 64), torch.empty(rows), 0
for file in files:
    table = pq.read_table(file)
    end = begin + table.num_rows
    label[begin:end] = torch.from_numpy(table.column("label").to_numpy())
    columns = [torch.from_numpy(column.to_numpy()) for column in table.drop("label").columns]
    torch.stack(columns, dim=1, out=features[begin:end])
    begin = end
    del table, columns
pa.default_memory_pool().release_unused()
# As much as a step, so that torch is as it is while it trains.
(features[:1024] @ torch.rand(features.shape[1], 1)).sum().item()
print("loaded", flush=True)
# Ends with whoever started it.
sys.stdin.read()
