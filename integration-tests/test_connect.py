"""Two Spark Connect sessions at once on one server: each has its own driver and its own executor."""

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pyspark
import pytest
from conftest import lethe_processes, wait_for
from programs import Program, executable, spark_home

REMOTE = """
    from pyspark.sql import SparkSession

    spark = SparkSession.builder.remote({remote!r}).create()
    frame = spark.createDataFrame(table).repartition(2)
    dataset = lethe.Dataset.from_spark(frame, features="pixels", label="digit").split(validation=0.2, seed=7)
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    port, home = free_port(), tmp_path / "spark"
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
    log = (tmp_path / "server.log").open("w")
    process = subprocess.Popen(arguments, stdout=log, stderr=log, env={**os.environ, **spark_home(home)})

    def listens() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        assert wait_for(listens, 90), (tmp_path / "server.log").read_text()[-2000:]
        yield f"sc://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)
        log.close()


def test_two_sessions_search_at_once_and_leave_nothing(server: str) -> None:
    run = """
        def executors():
            return sum("executor" in os.readlink(f"/proc/{p}/exe") for p in lethe_processes())

        dataset.train.to_arrow()
        say(stored=True)
        assert wait_for(lambda: executors() == 2, 60), "the other session's executor did not come"
        result = lethe.lagom(training(epochs=2), dataset, search(4), slots=2, quiet=True)
        say(states=list(result.trials["state"]), executor=sorted(set(result.slots["executor"])))
    """
    with Program(REMOTE, run, remote=server) as one, Program(REMOTE, run, remote=server) as two:
        assert one.says() == two.says() == {"stored": True}
        first, second = one.says(), two.says()
        assert first["states"] == second["states"] == ["finished"] * 4
        assert len(first["executor"]) == len(second["executor"]) == 1
        assert first["executor"] != second["executor"]
        one.rest()
        two.rest()
    # The server lives on; what its clients started does not.
    assert wait_for(lambda: not [p for p in lethe_processes() if executable(p)], 10)
