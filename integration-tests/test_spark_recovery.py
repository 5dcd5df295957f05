"""Processes that are killed in the middle of a search on local[2], where Spark retries nothing."""

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from conftest import lethe_processes, wait_for
from frames import frame_of
from programs import command_line, environment, executable, parent, training_now
from searches import search, training

import lethe


@pytest.fixture
def dataset(spark: Any, digits: pa.Table) -> lethe.Dataset:
    frame = frame_of(spark, digits).repartition(3)
    return lethe.Dataset.from_spark(frame, features="pixels", label="digit").split(validation=0.2, seed=7)


def during(act: Callable[[set[int]], None], run: Callable[[], lethe.Result]) -> lethe.Result:
    """Runs the search and, once two trainers work, does something to its processes."""
    before = lethe_processes()
    failures: list[BaseException] = []

    def watch() -> None:
        try:
            assert wait_for(lambda: len(training_now(before)) >= 2, 60), "no two trainers came to train"
            act(training_now(before))
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=watch)
    thread.start()
    result = run()
    thread.join()
    if failures:
        raise failures[0]
    return result


def executors() -> set[int]:
    return {pid for pid in lethe_processes() if executable(pid) == "lethe-executor"}


def test_a_killed_trainer_costs_one_attempt(dataset: lethe.Dataset) -> None:
    victims: list[int] = []

    def kill(trainers: set[int]) -> None:
        victims.append(min(trainers))
        os.kill(victims[0], signal.SIGKILL)

    before = executors()
    result = during(kill, lambda: lethe.lagom(training(epochs=300), dataset, search(6), quiet=True))
    assert victims
    assert set(result.trials["state"]) == {"finished"}
    assert sorted(result.trials["attempts"]) == [1, 1, 1, 1, 1, 2]
    assert executors() >= before, "the executor lives on"


def test_a_killed_executor_is_replaced_and_finds_its_partitions(dataset: lethe.Dataset) -> None:
    killed: list[int] = []

    def kill(trainers: set[int]) -> None:
        killed.extend({parent(pid) for pid in trainers})
        for pid in killed:
            os.kill(pid, signal.SIGKILL)

    result = during(kill, lambda: lethe.lagom(training(epochs=300), dataset, search(6), quiet=True))
    assert len(killed) == 1
    assert set(result.trials["state"]) == {"finished"}
    assert max(result.trials["attempts"]) == 2
    assert not executors() & set(killed)
    assert dataset.validation.to_arrow().num_rows == 359


def test_secrets_and_addresses_are_kept(dataset: lethe.Dataset) -> None:
    """The token is in no command line, environment, Spark setting or log; executors listen on one address;
    a native slot's Python has loaded no torch."""
    from lethe.application.registry import _APPLICATIONS

    seen: dict[str, Any] = {}

    def look(trainers: set[int]) -> None:
        token = next(iter(_APPLICATIONS.values())).token
        ours = lethe_processes()
        seen["told"] = [p for p in ours if token in command_line(p) or token in str(environment(p))]
        workers = [int(p) for p in filter(str.isdigit, os.listdir("/proc")) if "pyspark.daemon" in safe(p)]
        seen["workers"] = len(workers)
        seen["torch"] = [p for p in workers if "libtorch" in maps(p)]
        seen["devices"] = {environment(p).get("CUDA_VISIBLE_DEVICES") for p in trainers}
        listening = [address for p in ours for address in listens(p)]
        seen["listening"] = listening
        logs = Path(environment(min(trainers)).get("PWD", "/nowhere"))
        logs = Path(os.readlink(f"/proc/{min(trainers)}/cwd")).parent if not logs.exists() else logs
        seen["logs"] = [str(f) for f in logs.rglob("*.log") if token in f.read_text(errors="replace")]

    during(look, lambda: lethe.lagom(training(epochs=40), dataset, search(4), quiet=True))
    assert seen["told"] == []
    assert seen["logs"] == []
    assert seen["workers"] >= 2
    assert seen["torch"] == []
    assert seen["devices"] == {""}, "no GPU was given: none is seen"
    assert seen["listening"]
    assert "0.0.0.0" not in seen["listening"]
    settings = dict(dataset.source.frame.sparkSession.sparkContext.getConf().getAll())
    token = next(iter(_APPLICATIONS.values())).token
    assert token not in str(settings)


def safe(pid: str) -> str:
    try:
        return command_line(int(pid))
    except OSError:
        return ""


def maps(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/maps").read_text()
    except OSError:
        return ""


def listens(pid: int) -> list[str]:
    """IPv4 addresses that a process listens on."""
    try:
        sockets = {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
    except OSError:
        return []
    found = []
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
            number = bytes.fromhex(fields[1].split(":")[0])
            found.append(".".join(str(byte) for byte in reversed(number)))
    return found


def test_executors_end_with_the_session(spark: Any, dataset: lethe.Dataset) -> None:
    lethe.lagom(training(epochs=1), dataset, search(2), quiet=True)
    assert executors()
    spark.stop()
    assert wait_for(lambda: not executors(), 15), "an executor outlived its session by 15 s"
