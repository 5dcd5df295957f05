"""Rows per second of a peer's loop from Parquet to torch batches, in its first epoch and in later ones.

`pyarrow` reads in the files' order at every epoch; `dataloader` loads all rows, then a DataLoader
shuffles them; `petastorm` and `ray` are their own loaders in the quickest order that shuffles:
petastorm's of row groups and the rows within them, Ray's of files."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_DEDUP_LOGS="0")

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

#: Rows that pyarrow reads at once.
READ = 65_536
#: Epochs of petastorm sometimes end before the first row has come: they are begun again.
TRIES = 5

Epoch = Callable[[], Iterator[torch.Tensor]]


def tensor(batch: Any, columns: list[str]) -> torch.Tensor:
    """`[rows, 64]` of a record batch or a table."""
    if columns == ["f"]:
        values = batch.column("f")
        values = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
        return torch.from_numpy(values.flatten().to_numpy().reshape(batch.num_rows, -1))
    return torch.stack([torch.from_numpy(batch.column(name).to_numpy()) for name in columns], dim=1)


def files(folder: str) -> list[Path]:
    return sorted(Path(folder).glob("*.parquet"))


def pyarrow_loop(given: dict[str, Any]) -> Epoch:
    def epoch() -> Iterator[torch.Tensor]:
        for file in files(given["files"]):
            for batch in pq.ParquetFile(file).iter_batches(READ, columns=given["columns"]):
                yield from tensor(batch, given["columns"]).split(given["batch"])

    return epoch


def dataloader_loop(given: dict[str, Any]) -> Epoch:
    loaded: list[Any] = []

    def epoch() -> Iterator[torch.Tensor]:
        if not loaded:
            x = tensor(pq.read_table(given["files"], columns=given["columns"]), given["columns"])
            dataset = torch.utils.data.TensorDataset(x)
            loaded.append(torch.utils.data.DataLoader(dataset, given["batch"], shuffle=True))
        for (x,) in loaded[0]:
            yield x

    return epoch


def petastorm_loop(given: dict[str, Any]) -> Epoch:
    from petastorm import make_batch_reader
    from petastorm.pytorch import BatchedDataLoader

    def epoch() -> Iterator[torch.Tensor]:
        reader = make_batch_reader(
            f"file://{given['files']}", schema_fields=given["columns"], num_epochs=1, shuffle_rows=True
        )
        with reader:
            for batch in BatchedDataLoader(reader, given["batch"], shuffling_queue_capacity=0):
                columns = [batch[name] for name in given["columns"]]
                yield columns[0] if len(columns) == 1 else torch.stack(columns, dim=1)

    return epoch


def ray_loop(given: dict[str, Any]) -> Epoch:
    import logging

    import ray

    ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False

    def collate(batch: dict[str, np.ndarray]) -> torch.Tensor:
        if given["columns"] == ["f"]:
            values = batch["f"]
            return torch.from_numpy(np.stack(values) if values.dtype == object else values)
        return torch.stack([torch.from_numpy(batch[name]) for name in given["columns"]], dim=1)

    def epoch() -> Iterator[torch.Tensor]:
        rows = ray.data.read_parquet(given["files"], columns=given["columns"], shuffle="files")
        yield from rows.iter_torch_batches(batch_size=given["batch"], collate_fn=collate)

    return epoch


def main() -> None:
    given = json.loads(sys.stdin.read())
    loops = {"pyarrow": pyarrow_loop, "dataloader": dataloader_loop}
    epoch = (loops | {"petastorm": petastorm_loop, "ray": ray_loop})[given["loop"]](given)
    rates = []
    for _ in range(given["epochs"]):
        rows = 0
        for _ in range(TRIES if given["loop"] == "petastorm" else 1):
            begin = time.perf_counter()
            rows = sum(batch.shape[0] for batch in epoch())
            if rows:
                break
        rates.append(rows / (time.perf_counter() - begin))
        if rows != given["rows"]:
            raise RuntimeError(f"{given['loop']} gave {rows} rows of {given['rows']}")
    print(json.dumps({"rates": rates}))


if __name__ == "__main__":
    main()
