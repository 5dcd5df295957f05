"""`first_step_s`: seconds from `lagom` to the first step of two native ranks in Spark's local[2], where the
application has run them before, beside a job of two tasks that does nothing (mapInArrow), and beside
TorchDistributor, whose processes Spark's driver starts (local_mode), or its tasks; warm too: the file is
cached and the session has run them before."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import torch

import lethe
from benchmarks import peer
from benchmarks.figure import Figure
from benchmarks.ranks import BATCH, rows, table, training
from benchmarks.spark_put import spark_in

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
ROWS, WORLD = 20_000, 2
#: A peer's call takes many seconds.
PEER_ROUNDS = min(ROUNDS, 3)
PEERS = ("TorchDistributor", "TorchDistributor in tasks")


def lagom_s(dataset: lethe.Dataset) -> float:
    """From the call to the end of the trial, without what it trained: some milliseconds too many, in which
    the weights are saved."""
    begin = time.time()
    result = lethe.lagom(training(WORLD, 1), dataset, lethe.Distributed(workers=WORLD), quiet=True)
    ended = result.sql("select max(at) as at from events where kind = 'attempt_ended'")["at"][0]
    return float(ended.timestamp() - result.trials["train_s"][0] - begin)


def job_s(spark: SparkSession) -> float:
    # Within, so that Python workers need not find this module.
    def nothing(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield batch.slice(0, 0)

    begin = time.perf_counter()
    spark.range(0, WORLD, 1, WORLD).mapInArrow(nothing, "id bigint").collect()
    return time.perf_counter() - begin


def peer_s(launcher: str, data: Path) -> list[float]:
    given: dict[str, Any] = {
        "launcher": launcher,
        "script": "ddp.py",
        "processes": WORLD,
        "calls": 1 + PEER_ROUNDS,
        "arguments": {"data": str(data), "batch": BATCH, "epochs": 1},
    }
    return [call["first_step"] - call["began"] for call in peer.run("ranks.py", given, None)[1:]]


def measure() -> list[Figure]:
    x, y = rows(ROWS)
    ours, job = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = folder / "rows.pt"
        torch.save({"x": x, "y": y}, data)
        spark = spark_in(folder)
        try:
            frame = spark.createDataFrame(table(x, y))
            dataset = lethe.Dataset.from_spark(frame, features="features", label="class")
            lagom_s(dataset)
            job_s(spark)
            for _ in range(ROUNDS):
                job.append(job_s(spark))
                ours.append(lagom_s(dataset))
                print(json.dumps({"mapInArrow": job[-1], "lagom": ours[-1]}), file=sys.stderr, flush=True)
        finally:
            lethe.shutdown()
            spark.stop()
        beside = {"mapInArrow": median(job)} | {name: median(peer_s(name, data)) for name in PEERS}
    versus = {name: round(seconds, 3) for name, seconds in beside.items()}
    return [Figure("first_step_s", round(median(ours), 3), "s", versus, None, "≤ mapInArrow + 1 s")]
