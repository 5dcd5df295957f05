"""`spark_put_columns`, `spark_put_list`: GB per CPU-second of a DataFrame that is put into the executor in
local[2], 64 float32 columns and one column of arrays, beside `mapInArrow` into a consumer that does nothing.

The CPU is that of all processes involved: this one, Spark's JVM and its Python workers, Lethe's driver and
executor.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import pyarrow as pa

import lethe
from benchmarks import parquet, processes
from benchmarks.figure import Figure, compared
from lethe.application.application import Application
from lethe.application.registry import application
from lethe.session.find import session_of

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

ROWS = int(os.environ.get("BENCH_ROWS", "1_000_000"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))


def spark_in(folder: Path) -> SparkSession:
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
    builder = builder.config("spark.ui.showConsoleProgress", "false")
    return builder.config("spark.local.dir", str(folder / "spark")).getOrCreate()


def involved(owner: Application, folder: Path) -> list[int]:
    """This process and all that descend from it, Lethe's driver, and the executor, nobody's child."""
    executors = [json.loads(info.read_text())["pid"] for info in folder.rglob("executor.json")]
    return processes.tree([os.getpid(), owner.driver.pid, *executors])


def cpu_s(owner: Application, folder: Path, what: Callable[[], None]) -> float:
    before = processes.cpu_s(set(involved(owner, folder)))
    what()
    return processes.cpu_s(set(involved(owner, folder))) - before


def put(frame: DataFrame) -> None:
    dataset = lethe.Dataset.from_spark(frame, features=frame.columns)
    dataset.on().stored()
    dataset.unpersist()


def consume(frame: DataFrame) -> None:
    # Within, so that Python workers need not find this module.
    def count(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        rows = sum(batch.num_rows for batch in batches)
        yield pa.RecordBatch.from_pydict({"rows": pa.array([rows], pa.int64())})

    rows = sum(row["rows"] for row in frame.mapInArrow(count, "rows bigint").collect())
    if rows != ROWS:
        raise RuntimeError(f"the consumer got {rows} rows of {ROWS}")


def measure() -> list[Figure]:
    figures = []
    gigabytes = ROWS * parquet.WIDTH * 4 / 1e9
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        spark = spark_in(folder)
        try:
            owner = application(session_of(spark))
            for layout, aim in (("columns", "ratio ≥ 0.9"), ("list", "ratio ≥ 0.75")):
                frame = spark.read.parquet(str(parquet.write(folder / layout, ROWS, layout)))
                # The JVM compiles, Python workers and the executor start.
                put(frame)
                consume(frame)
                taken: dict[str, list[float]] = {"put": [], "consumer": []}
                for _ in range(ROUNDS):
                    taken["consumer"].append(cpu_s(owner, folder, lambda: consume(frame)))  # noqa: B023
                    taken["put"].append(cpu_s(owner, folder, lambda: put(frame)))  # noqa: B023
                rate = {what: gigabytes / median(seconds) for what, seconds in taken.items()}
                unit = "GB per CPU-s"
                figures.append(
                    compared(f"spark_put_{layout}", rate["put"], unit, "consumer", rate["consumer"], aim)
                )
        finally:
            lethe.shutdown()
            spark.stop()
    return figures
