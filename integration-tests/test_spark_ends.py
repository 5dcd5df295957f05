"""How a search on Spark is broken off, and what keeps one from starting; each in a process of its own."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import lethe_processes, wait_for
from programs import CLASSIC, Program, training_now

LOCAL: dict[str, Any] = {"master": "local[2]", "conf": {}}

ENDLESS = """
    dataset.train.to_arrow()
    say(ready=True)
    result = lethe.lagom(training(epochs=100000), dataset, search(4))
    say(interrupted=result.interrupted, trials=len(result.trials))
    spark.stop()
"""


@pytest.fixture
def endless() -> Any:
    """A search that would run for hours, once both of its trainers train."""
    before = lethe_processes()
    with Program(CLASSIC, ENDLESS, **LOCAL) as program:
        assert program.says() == {"ready": True}
        assert wait_for(lambda: len(training_now(before)) == 2, 60)
        yield program
    assert wait_for(lambda: lethe_processes() <= before, 10), "a process of Lethe was left behind"


def test_ctrl_c_returns_the_partial_result_of_a_spark_search(endless: Program) -> None:
    endless.process.send_signal(signal.SIGINT)
    begin = time.monotonic()
    said = endless.says()
    assert time.monotonic() - begin < 10
    assert said["interrupted"] is True
    assert said["trials"] >= 2
    printed = endless.rest()
    assert "interrupted (Ctrl-C)" in printed
    assert "Py4JError" not in printed
    assert endless.process.returncode == 0


def test_sigterm_ends_a_spark_search_with_no_half_result(endless: Program) -> None:
    endless.process.send_signal(signal.SIGTERM)
    printed = endless.rest()
    assert endless.process.returncode == 143
    assert "SAYS" not in printed.split('"ready": true')[-1]
    assert "Py4JError" not in printed


def test_a_killed_driver_process_ends_its_executors(endless: Program) -> None:
    """The driver is killed, the user's Python lives: the error names the driver, nothing is left."""
    driver = next(p for p in lethe_processes() if os.readlink(f"/proc/{p}/exe").endswith("lethe-driver"))
    os.kill(driver, signal.SIGKILL)
    assert wait_for(lambda: not lethe_processes(), 15), "an executor outlived its driver by 15 s"
    printed = endless.rest()
    assert endless.process.returncode != 0
    assert f"lethe-driver (pid {driver}) has ended" in printed
    log = re.search(r"its log is (\S+)", printed)
    assert log is not None
    assert Path(log[1]).is_file(), "it is kept for whoever reads that"


def first_error(printed: str) -> str:
    """The line of the uncaught exception."""
    return next(line for line in printed.splitlines() if line.startswith("lethe."))


def test_an_interpreter_without_lethe_is_named_first(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare")], check=True)
    bare = str(tmp_path / "bare" / "bin" / "python")
    run = """
        lethe.lagom(training(epochs=1), dataset, search(1), quiet=True)
    """
    with Program(CLASSIC, run, environment={"PYSPARK_PYTHON": bare}, **LOCAL) as program:
        printed = program.rest()
    assert program.process.returncode != 0
    assert bare in first_error(printed)
    assert "at org.apache.spark" not in printed, "no Java stack"


def test_a_driver_out_of_reach_is_an_error_in_time() -> None:
    """The driver listens on one loopback address, executors are told another."""
    run = """
        frame.count()
        settings = lethe.Settings(driver_bind="127.0.0.1", driver_host="127.0.0.2")
        begin = time.monotonic()
        try:
            lethe.lagom(training(epochs=1), dataset, search(1), quiet=True, settings=settings)
        except lethe.LetheError as error:
            say(took=time.monotonic() - begin, error=str(error))
    """
    with Program(CLASSIC, run, **LOCAL) as program:
        said = program.says()
        printed = program.rest()
    first = said["error"].splitlines()[0]
    assert "the executor at " in first
    assert "cannot reach the Lethe driver at 127.0.0.2:" in first
    assert said["took"] < 15, "not the minute after which a call gives up"
    assert "at org.apache.spark" not in printed


def test_ports_are_those_of_the_settings() -> None:
    run = """
        import socket
        from lethe.application.registry import application

        def free():
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                return probe.getsockname()[1]

        driver, executor = free(), free()
        settings = lethe.Settings(driver_port=driver, executor_ports=(executor, executor))
        local = lethe.Dataset.from_arrow(table, features="pixels", label="digit").split(validation=0.2)
        lethe.lagom(training(epochs=1), local, search(1), spark=False, quiet=True, settings=settings)
        owner = application(None)
        say(asked=[driver, executor], got=[owner.driver.port, int(owner.executor().address.split(":")[-1])])
    """
    with Program(run) as program:
        said = program.says()
    assert said["got"] == said["asked"]
