"""Parquet files of float32 columns, the same for Lethe and its peers."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

WIDTH, FILES, ROW_GROUP = 64, 8, 65_536
COLUMNS = [f"f{i}" for i in range(WIDTH)]


def write(folder: Path, rows: int, layout: str, *, label: bool = False) -> Path:
    """`FILES` files of random numbers in `folder`; returns it.

    layout: "columns" are 64 of one number, "list" is one, `f`, of arrays of 64.
    """
    folder.mkdir(parents=True)
    random = np.random.default_rng(1)
    bounds = [rows * i // FILES for i in range(FILES + 1)]
    for number, (begin, end) in enumerate(pairwise(bounds)):
        values = random.random((end - begin, WIDTH), dtype="float32")
        if layout == "columns":
            columns = {name: pa.array(values[:, i].copy()) for i, name in enumerate(COLUMNS)}
        else:
            starts = pa.array(np.arange(end - begin + 1, dtype="int32") * WIDTH)
            columns = {"f": pa.ListArray.from_arrays(starts, pa.array(values.reshape(-1)))}
        if label:
            columns["label"] = pa.array(values.sum(axis=1))
        pq.write_table(pa.table(columns), folder / f"{number:02}.parquet", row_group_size=ROW_GROUP)
    return folder
