"""Searches on a classic Spark session with two local cores."""

import os
import signal
import threading
from typing import Any

import pyarrow as pa
import pytest
from conftest import lethe_processes, of_this_run, wait_for
from frames import frame_of
from pyspark.sql import functions as F
from searches import accuracy, search, training

import lethe


@pytest.fixture
def frame(spark: Any, digits: pa.Table) -> Any:
    return frame_of(spark, digits).repartition(3)


def dataset_of(frame: Any) -> lethe.Dataset:
    return lethe.Dataset.from_spark(frame, features="pixels", label="digit").split(validation=0.2, seed=7)


def test_a_search_runs_on_two_slots(frame: Any) -> None:
    dataset = dataset_of(frame)
    result = lethe.lagom(training(epochs=9), dataset, search(8, stopping=lethe.ASHA(reduction=3)), quiet=True)
    assert len(result.trials) == 8
    assert len(result.slots) == 2
    assert result.best is not None
    assert result.best.value > 0.9
    assert accuracy(result.best_model(), dataset.validation) == pytest.approx(result.best.value, abs=1e-9)
    assert len(dataset.train.to_arrow()) == 1438


def test_an_empty_partition_is_a_partition(frame: Any) -> None:
    with_empty = frame.repartition(4, F.lit(1))
    assert sorted(with_empty.rdd.glom().map(len).collect()) == [0, 0, 0, 1797]
    dataset = dataset_of(with_empty)
    result = lethe.lagom(training(epochs=1), dataset, search(2), quiet=True)
    assert len(result.trials) == 2
    assert dataset.train.to_arrow().num_rows == 1438


def test_errors_of_the_data_come_before_anything_runs(frame: Any) -> None:
    with pytest.raises(lethe.DataError, match="there is no column 'pixel'; did you mean pixels"):
        lethe.Dataset.from_spark(frame, features="pixel", label="digit")
    as_number = frame.withColumn("digit", F.col("digit").cast("double"))
    with pytest.raises(lethe.DataError, match="the label 'digit' has type double, and cross_entropy needs"):
        lethe.lagom(training(), dataset_of(as_number), search(1), quiet=True)
    with pytest.raises(lethe.DataError, match="zero rows"):
        lethe.lagom(training(), dataset_of(frame.filter("digit > 100")), search(1), quiet=True)


def test_an_exception_in_the_user_s_plan_is_one_line_first(frame: Any) -> None:
    broken = frame.withColumn("digit", F.udf(lambda digit: 1 // 0, "int")("digit"))
    with pytest.raises(lethe.DataError) as caught:
        lethe.lagom(training(), dataset_of(broken), search(1), quiet=True)
    assert str(caught.value).splitlines()[0] == (
        "Spark could not compute the dataset: ZeroDivisionError: integer division or modulo by zero"
    )


def slots_of_this_process() -> list[int]:
    """Python workers of this run that hold a slot: they wait in a stream of Flight."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                command = file.read()
            with open(f"/proc/{pid}/maps", "rb") as file:
                holds = b"pyspark.daemon" in command and b"_flight" in file.read() and of_this_run(int(pid))
        except OSError:
            continue
        if holds:
            found.append(int(pid))
    return found


def test_a_killed_slot_worker_is_replaced(frame: Any) -> None:
    killed: list[int] = []
    over = threading.Event()

    def kill() -> None:
        trainers = lethe_processes()
        # Once trainers run, slots are held.
        wait_for(
            lambda: over.is_set() or (len(lethe_processes() - trainers) >= 2 and slots_of_this_process()), 60
        )
        for pid in slots_of_this_process()[:1]:
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)

    dataset = dataset_of(frame)
    len(dataset.validation.to_arrow())
    thread = threading.Thread(target=kill)
    thread.start()
    result = lethe.lagom(training(epochs=60), dataset, search(6), quiet=True)
    over.set()
    thread.join()
    assert killed
    assert len(result.trials) == 6
    assert set(result.trials["state"]) == {"finished"}


def test_the_result_outlives_the_session(spark: Any, frame: Any) -> None:
    dataset = dataset_of(frame)
    result = lethe.lagom(training(epochs=1), dataset, search(2), quiet=True)
    spark.stop()
    assert result.best is not None
    assert sum(parameter.numel() for parameter in result.best_model().parameters()) > 0
    assert len(result.trials) == 2
    assert wait_for(lambda: not [pid for pid in lethe_processes() if "executor" in executable(pid)], 10)


def executable(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return ""
