"""What Lethe needs of Spark: `test_versions.py` runs this with the interpreter of each version."""

import os
import signal
import threading
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pyspark
import pytest
from conftest import lethe_processes, wait_for
from connect import REMOTE, connect_server
from programs import Program, training_now
from pyspark.sql import functions as F
from searches import accuracy, search, training

import lethe

CONNECT = """
    from pyspark.sql import functions as F

    result = lethe.lagom(training(epochs=2), dataset, search(3), slots=2, quiet=True)
    say(states=list(result.trials["state"]), rows=dataset.train.to_arrow().num_rows)
    broken = frame.withColumn("digit", F.udf(lambda digit: 1 // 0, "int")("digit"))
    data = lethe.Dataset.from_spark(broken, "pixels", "digit").split(validation=0.2)
    try:
        lethe.lagom(training(epochs=1), data, search(1), slots=2, quiet=True)
    except lethe.DataError as error:
        say(error=str(error).splitlines()[0])
    say(ready=True)
    result = lethe.lagom(training(epochs=100000), dataset, search(4), slots=2, quiet=True)
    say(interrupted=result.interrupted, trials=len(result.trials))
"""


@pytest.fixture(scope="module")
def frame(spark: Any, digits: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("digits") / "digits.parquet"
    pq.write_table(digits, path)
    return spark.read.parquet(str(path)).repartition(3)


@pytest.fixture(scope="module")
def dataset(frame: Any) -> lethe.Dataset:
    return lethe.Dataset.from_spark(frame, features="pixels", label="digit").split(validation=0.2, seed=7)


def test_a_search_runs_on_two_slots(dataset: lethe.Dataset) -> None:
    result = lethe.lagom(training(epochs=9), dataset, search(6, stopping=lethe.ASHA(reduction=3)), quiet=True)
    assert len(result.trials) == 6
    assert len(result.slots) == 2
    assert result.best is not None
    assert result.best.value > 0.9
    assert accuracy(result.best_model(), dataset.validation) == pytest.approx(result.best.value, abs=1e-9)
    assert len(dataset.train.to_arrow()) == 1438


def test_a_python_function_gets_the_data(dataset: lethe.Dataset) -> None:
    def width(dataset: lethe.Dataset) -> float:
        return float(dataset.train.to_numpy()[0].shape[1])

    result = lethe.lagom(width, dataset, lethe.Single(), quiet=True)
    assert result.best is not None
    assert result.best.value == 64.0


def test_an_exception_in_the_user_s_plan_is_one_line(frame: Any) -> None:
    broken = frame.withColumn("digit", F.udf(lambda digit: 1 // 0, "int")("digit"))
    data = lethe.Dataset.from_spark(broken, "pixels", "digit").split(validation=0.2)
    with pytest.raises(lethe.DataError) as caught:
        lethe.lagom(training(), data, search(1), quiet=True)
    assert str(caught.value).splitlines()[0] == (
        "Spark could not compute the dataset: ZeroDivisionError: integer division or modulo by zero"
    )


def test_ctrl_c_cancels_the_job_and_returns_the_partial_result(dataset: lethe.Dataset) -> None:
    before = lethe_processes()

    def interrupt() -> None:
        wait_for(lambda: len(training_now(before)) == 2, 90)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    result = lethe.lagom(training(epochs=100000), dataset, search(4), quiet=True)
    thread.join()
    assert result.interrupted
    assert len(result.trials) >= 2
    assert wait_for(lambda: not training_now(before), 10)


def test_connect(tmp_path: Path) -> None:
    if int(pyspark.__version__.split(".")[0]) < 4:
        pytest.skip("before 4.0 pip's package has no Connect server")
    before = lethe_processes()
    with connect_server(tmp_path) as remote, Program(REMOTE, CONNECT, remote=remote) as program:
        assert program.says() == {"states": ["finished"] * 3, "rows": 1438}
        assert program.says() == {
            "error": "Spark could not compute the dataset: ZeroDivisionError: "
            "integer division or modulo by zero"
        }
        assert program.says() == {"ready": True}
        assert wait_for(lambda: len(training_now(before)) == 2, 90)
        program.process.send_signal(signal.SIGINT)
        said = program.says()
        assert said["interrupted"]
        assert said["trials"] >= 2
        program.rest()
