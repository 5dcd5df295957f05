"""A Spark Connect server in a process of its own, and the programs that are its clients."""

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyspark
import pytest
from conftest import wait_for
from programs import spark_home

REMOTE = """
    from pyspark.sql import SparkSession

    spark = SparkSession.builder.remote({remote!r}).create()
    frame = frame_of(spark, table).repartition(2)
    dataset = lethe.Dataset.from_spark(frame, features="pixels", label="digit").split(validation=0.2, seed=7)
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def connect_server(folder: Path) -> Iterator[str]:
    """The URL of a server on four local cores, which ends with the block."""
    if int(pyspark.__version__.split(".")[0]) < 4:
        pytest.skip("before 4.0 pip's Spark has no Connect server: its jar is fetched from Maven")
    port, home = free_port(), folder / "spark"
    home.mkdir()
    submit = Path(pyspark.__file__).parent / "bin" / "spark-submit"
    arguments = [
        str(submit),
        *("--master", "local[4]"),
        *("--class", "org.apache.spark.sql.connect.service.SparkConnectServer"),
        *("--conf", f"spark.connect.grpc.binding.port={port}"),
        *("--conf", "spark.ui.enabled=false"),
        "spark-internal",
    ]
    log = (folder / "server.log").open("w")
    process = subprocess.Popen(arguments, stdout=log, stderr=log, env={**os.environ, **spark_home(home)})

    def listens() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        wait_for(lambda: process.poll() is not None or listens(), 180)
        assert listens(), (folder / "server.log").read_text()[-2000:]
        yield f"sc://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)
        log.close()
