"""Slots that hang, that wait for a place, and that join while the search runs."""

import os
import signal
import threading
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from conftest import lethe_processes, wait_for
from frames import frame_of
from journals import count, events
from programs import CLASSIC, Program, cpu_seconds, executable, parent, spark_home
from searches import search, training

import lethe

RUNS = Path("lethe-runs")


@pytest.fixture
def conf(tmp_path: Path) -> dict[str, Any]:
    home = tmp_path / "spark"
    home.mkdir()
    return {
        "environment": spark_home(home),
        "master": "local-cluster[2,1,1024]",
        "conf": {"spark.executor.memory": "1g", "spark.cores.max": "2"},
    }


def trainers() -> list[int]:
    """Those that are past their start."""
    found = [pid for pid in lethe_processes() if executable(pid) == "lethe-trainer"]
    return [pid for pid in found if cpu_seconds(pid) > 0.5]


def test_a_hung_executor_loses_its_slot_in_seconds(conf: dict[str, Any]) -> None:
    run = """
        result = lethe.lagom(training(epochs=300), dataset, search(6), quiet=True, name="hung")
        say(states=list(result.trials["state"]), attempts=sorted(result.trials["attempts"]))
    """
    folder = RUNS / "hung"
    with Program(CLASSIC, run, **conf) as program:
        assert wait_for(lambda: len(trainers()) == 2, 120), program.process.poll()
        hung = parent(trainers()[0])
        os.kill(hung, signal.SIGSTOP)
        begin = time.monotonic()
        try:
            assert wait_for(lambda: count(folder, "slot_left") == 1, 30)
            took = time.monotonic() - begin
            # What it ran goes on elsewhere while it hangs.
            assert wait_for(lambda: count(folder, "report", attempt=2) > 0, 60)
        finally:
            os.kill(hung, signal.SIGCONT)
        said = program.says()
    # Eight seconds without an answer, and some for a machine that is busy.
    assert took < 20
    left = next(event["slot"] for event in events(folder) if event["type"] == "slot_left")
    again = {e["slot"] for e in events(folder) if e["type"] == "report" and e["attempt"] == 2}
    assert left not in again
    assert said["states"] == ["finished"] * 6
    assert said["attempts"] == [1, 1, 1, 1, 1, 2]
    assert wait_for(lambda: not lethe_processes(), 30)


class Blocker:
    """A Spark task of somebody else, which takes a place until it is let go."""

    def __init__(self, spark: Any, folder: Path) -> None:
        self._began, self._gate = folder / "began", folder / "gate"
        began, gate = str(self._began), str(self._gate)

        def hold(_: int) -> None:
            Path(began).touch()
            while not Path(gate).exists():
                time.sleep(0.05)

        job = spark.sparkContext.parallelize([0], 1)
        self._thread = threading.Thread(target=lambda: job.foreach(hold))

    def __enter__(self) -> "Blocker":
        self._thread.start()
        assert wait_for(self._began.exists, 60)
        return self

    def let_go(self) -> None:
        self._gate.touch()

    def __exit__(self, *_: object) -> None:
        self.let_go()
        self._thread.join()


@pytest.fixture
def dataset(spark: Any, digits: pa.Table) -> lethe.Dataset:
    frame = frame_of(spark, digits).repartition(3)
    return lethe.Dataset.from_spark(frame, features="pixels", label="digit").split(validation=0.2, seed=7)


def test_a_slot_that_waited_joins_and_one_that_still_waits_is_released(
    spark: Any, dataset: lethe.Dataset, tmp_path: Path
) -> None:
    """Two places, one of them taken; three slots asked for."""
    folder = RUNS / "queued"
    with Blocker(spark, tmp_path) as blocker:

        def watch() -> None:
            wait_for(lambda: count(folder, "ended") >= 2, 60)
            blocker.let_go()

        thread = threading.Thread(target=watch)
        thread.start()
        result = lethe.lagom(training(epochs=40), dataset, search(12), slots=3, quiet=True, name="queued")
        returned = datetime.now(timezone.utc)
        thread.join()
    assert set(result.trials["state"]) == {"finished"}
    assert set(result.trials["attempts"]) == {1}
    kinds = [event["type"] for event in events(folder)]
    first, second = [number for number, kind in enumerate(kinds) if kind == "slot_joined"][:2]
    assert kinds[:first].count("ended") == 0
    assert kinds[:second].count("ended") >= 2, "it came in the middle"
    assert len(result.slots) == 2, "there was no place for a third"
    assert (result.slots["trials"] > 0).all()
    over = result.sql("select at from events where kind = 'over'")["at"].iloc[0]
    assert (returned - over).total_seconds() < 15, "all were released at once"


def test_more_slots_than_places_finish_the_search_and_leave_the_places_to_others(
    spark: Any, dataset: lethe.Dataset
) -> None:
    result = lethe.lagom(training(epochs=5), dataset, search(8), slots=4, quiet=True, name="many")
    assert set(result.trials["state"]) == {"finished"}
    # Those that waited came when the others had gone, and were released as they came.
    assert len(result.slots) == 2
    assert result.slots["trials"].sum() == 8
    assert spark.range(0, 4, 1, 2).count() == 4


def test_a_trial_takes_two_slots_at_once(no_process_left: None) -> None:
    what = lethe.Distributed(workers=2, hparams={"seconds": 0.2, "reports": 4})
    result = lethe.lagom(lethe.Registered("lethe.sleep", 4), None, what, spark=False, quiet=True)
    assert list(result.trials["state"]) == ["finished"]
    assert list(result.history["epoch"]) == [1, 2, 3, 4], "one rank speaks for both"
    assigned = result.sql("select slot, text from events where kind = 'assigned' order by sequence")
    assert assigned["slot"].nunique() == 2
    assert [text.split(", ")[1] for text in assigned["text"]] == ["as rank 0 of 2", "as rank 1 of 2"]
