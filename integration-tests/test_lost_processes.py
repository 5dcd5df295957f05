"""A trainer or executor that is killed in the middle of a search without Spark: the search goes on."""

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from conftest import lethe_processes, wait_for
from programs import parent, training_now
from searches import search, training

import lethe

pytestmark = pytest.mark.usefixtures("no_process_left")


def killing(whom: str, run: Callable[[], lethe.Result]) -> tuple[lethe.Result, list[int]]:
    """Runs a search and kills a trainer, or the executor that has it, once two trainers train."""
    before, killed, over = lethe_processes(), list[int](), threading.Event()

    def kill() -> None:
        wait_for(lambda: over.is_set() or len(training_now(before)) >= 2, 60)
        for trainer in sorted(training_now(before))[:1]:
            killed.append(trainer if whom == "trainer" else parent(trainer))
            os.kill(killed[0], signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        result = run()
    finally:
        over.set()
        thread.join()
    return result, killed


@pytest.mark.parametrize("whom", ["trainer", "executor"])
def test_a_local_search_survives(digits: pa.Table, whom: str) -> None:
    dataset = lethe.Dataset.from_arrow(digits, features="pixels", label="digit").split(validation=0.2, seed=7)
    result, killed = killing(
        whom,
        lambda: lethe.lagom(training(epochs=300), dataset, search(4), spark=False, slots=2, quiet=True),
    )
    assert killed
    assert set(result.trials["state"]) == {"finished"}
    assert result.trials["attempts"].max() == 2
    assert Path(str(result.best_model_path)).is_file()
