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


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("server")
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
        assert wait_for(listens, 90), (folder / "server.log").read_text()[-2000:]
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


def test_a_saved_model_predicts_within_the_plan_and_as_a_file_beside_it(server: str) -> None:
    run = """
        import torch
        from lethe.saved import spark as predicting

        local = lethe.Dataset.from_arrow(table, features="pixels", label="digit").split(0.2, seed=7)
        result = lethe.lagom(training(epochs=2), local, lethe.Single(metric="accuracy", direction="max"),
                             spark=False, slots=1, quiet=True)
        model = lethe.load(result.save("digits"))
        answer = model.predict(frame)
        predicting.PLAN_BYTES = 0
        both = answer.withColumnRenamed("prediction", "first")
        found = model.predict(both).toPandas()
        with torch.no_grad():
            classes = result.best_model()(torch.tensor(found["pixels"].tolist())).argmax(dim=1)
        say(rows=len(found), one=int((found["first"] == classes.numpy()).sum()),
            two=int((found["prediction"] == classes.numpy()).sum()))
    """
    with Program(REMOTE, run, remote=server) as program:
        assert program.says() == {"rows": 1797, "one": 1797, "two": 1797}
        program.rest()
