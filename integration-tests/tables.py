"""A table that tests of datasets share, and files of it."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.feather as pf
import pyarrow.parquet as pq

import lethe

ROWS = 300
CITIES = ("Oslo", "Rome", "Bern")


def table() -> pa.Table:
    random = np.random.default_rng(5)
    return pa.table(
        {
            "id": pa.array(random.permutation(ROWS), pa.int64()),
            "a": random.normal(5, 3, ROWS),
            "b": pa.array(random.integers(0, 9, ROWS), pa.int32()),
            "city": [CITIES[i % 3] for i in range(ROWS)],
            "part": [("train", "validation", "train", "test")[i % 4] for i in range(ROWS)],
            "group": pa.array([i // 10 for i in range(ROWS)], pa.int16()),
            "y": pa.array([i % 5 for i in range(ROWS)], pa.int32()),
            "w": pa.array(random.uniform(0, 2, ROWS), pa.float32()),
        }
    )


def wide(rows: int) -> pa.Table:
    """Forty columns of numbers, `c0` to `c39`, and `y`."""
    columns = {f"c{i}": np.random.default_rng(i).random(rows) for i in range(40)}
    return pa.table({**columns, "y": np.arange(rows) % 3})


def write_files(root: Path) -> Path:
    """The table as `rows.csv`, `rows.json` and `rows.arrow`, and as Parquet in folders named by its column
    `part`."""
    for name in ("train", "validation", "test"):
        rows = table().filter(pc.equal(table()["part"], name)).drop_columns("part")
        (root / "hive" / f"part={name}").mkdir(parents=True)
        pq.write_table(rows, root / "hive" / f"part={name}" / "rows.parquet", row_group_size=20)
    pyarrow.csv.write_csv(table(), root / "rows.csv")
    pf.write_feather(table(), root / "rows.arrow", compression="uncompressed")
    table().to_pandas().to_json(root / "rows.json", orient="records", lines=True)
    return root


def parts(data: lethe.Dataset) -> list[np.ndarray[Any, Any]]:
    return [getattr(data, name).to_numpy()[0] for name in ("train", "validation", "test")]


def expected() -> list[np.ndarray[Any, Any]]:
    frame = table().to_pandas().sort_values("id")
    of = [frame[frame.part == name] for name in ("train", "validation", "test")]
    return [part[["a", "id"]].to_numpy("float32") for part in of]


def same(data: lethe.Dataset, tolerance: float = 0) -> bool:
    """Whether a dataset with features `a` and `id`, key `id` and split by `part` has the table's rows."""
    pairs = zip(parts(data), expected(), strict=True)
    return all(np.allclose(*pair, rtol=tolerance, atol=tolerance) for pair in pairs)
