"""Trainers and executors that are killed in the middle of a search: the search goes on."""

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lethe
import pyarrow as pa
import pytest
from conftest import lethe_processes, wait_for
from searches import search, training

pytestmark = pytest.mark.usefixtures("no_process_left")


def named(name: str) -> set[int]:
    found = set()
    for pid in lethe_processes():
        try:
            if os.readlink(f"/proc/{pid}/exe").endswith(name):
                found.add(pid)
        except OSError:
            continue
    return found


def killing(name: str, run: Callable[[], lethe.Result]) -> tuple[lethe.Result, list[int]]:
    """Runs a search and kills one process of this name as soon as two trainers run."""
    before, killed, over = lethe_processes(), list[int](), threading.Event()

    def kill() -> None:
        wait_for(lambda: over.is_set() or len(named("lethe-trainer") - before) >= 2, 60)
        for pid in sorted(named(name) - before)[:1]:
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        result = run()
    finally:
        over.set()
        thread.join()
    return result, killed


@pytest.mark.parametrize("name", ["lethe-trainer", "lethe-executor"])
def test_a_local_search_survives(digits: pa.Table, name: str) -> None:
    dataset = lethe.Dataset.from_arrow(digits, features="pixels", label="digit").split(validation=0.2, seed=7)
    result, killed = killing(
        name,
        lambda: lethe.lagom(training(epochs=60), dataset, search(6), spark=False, slots=2, quiet=True),
    )
    assert killed
    assert set(result.trials["state"]) == {"finished"}
    assert result.trials["attempts"].max() > 1
    assert Path(str(result.best_model_path)).is_file()


@pytest.mark.parametrize("name", ["lethe-trainer", "lethe-executor"])
def test_a_search_on_spark_survives(spark: Any, digits: pa.Table, name: str) -> None:
    frame = spark.createDataFrame(digits).repartition(3)
    dataset = lethe.Dataset.from_spark(frame, features="pixels", label="digit").split(validation=0.2, seed=7)
    result, killed = killing(name, lambda: lethe.lagom(training(epochs=60), dataset, search(6), quiet=True))
    assert killed
    assert set(result.trials["state"]) == {"finished"}
    assert result.trials["attempts"].max() > 1
