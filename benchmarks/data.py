"""The data plane: `feed` (files to batches), `spark_put` (DataFrames to executors), `resident` (memory and
load time of slots). Each runs alone under its own name too. BENCH_ROWS and BENCH_ROUNDS make quick runs."""

from __future__ import annotations

from benchmarks import feed, resident, spark_put
from benchmarks.figure import Figure


def measure() -> list[Figure]:
    return [*feed.measure(), *spark_put.measure(), *resident.measure()]
