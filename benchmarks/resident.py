"""`resident_1` … `resident_8`: memory of an executor and its trainers with 1, 2, 4 and 8 slots that train on
one view, beside as many Python processes that each load the same Parquet files by pyarrow; `load_1` …
`load_8`: seconds until all of them can take their first step, from `lagom` and before anything runs.

`resident_…` counts shared pages once, the mapped view's too (proportional set size); `private_…` only
memory that is no file's. Both are of the moment at which all held most.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from torch import nn

import lethe
from benchmarks import parquet, peer, processes
from benchmarks.figure import Figure, compared
from lethe.application.registry import running

ROWS = int(os.environ.get("BENCH_ROWS", "2_000_000"))
SLOTS, EPOCHS, BATCH, PAUSE_S = (1, 2, 4, 8), 3, 1024, 0.2


class Watch:
    """The most memory that some processes have held, looked at every `PAUSE_S`."""

    def __init__(self, pids: Callable[[], list[int]], at_least: int) -> None:
        self.resident = self.private = 0.0
        self._pids, self._at_least, self._ended = pids, at_least, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(PAUSE_S):
            pids = self._pids()
            if len(pids) >= self._at_least:
                resident, private = processes.memory_mb(pids)
                self.resident, self.private = max(self.resident, resident), max(self.private, private)


def model() -> nn.Module:
    return nn.Linear(parquet.WIDTH, 1)


def executor_and_trainers() -> list[int]:
    """Nothing before there is an executor."""
    return [
        pid
        for owner in running()
        for info in owner.folder.rglob("executor.json")
        for pid in processes.tree([json.loads(info.read_text())["pid"]])
    ]


def ours(files: Path, slots: int) -> tuple[float, float, float]:
    """Resident and private memory, MB; seconds to the first step of the last slot."""
    dataset = lethe.Dataset.from_files(files, features=parquet.COLUMNS, label="label")
    train = lethe.Supervised(model=model, loss="mse", epochs=EPOCHS, batch_size=BATCH)
    space = lethe.SearchSpace(lr=lethe.loguniform(1e-4, 1e-3))
    search = lethe.Search(space, trials=slots, metric="loss", direction="min", seed=1)
    begin = time.time()
    with Watch(executor_and_trainers, 1 + slots) as watch:
        result = lethe.lagom(
            train, dataset.split(validation=0.01, seed=1), search, spark=False, slots=slots, quiet=True
        )
    finished = (result.trials["state"] == "finished").sum()
    if finished != slots:
        raise RuntimeError(f"{finished} of {slots} trials finished:\n{result.trials}")
    first = [at - train_s for at, train_s in ends(Path(result.directory) / "journal.log")]
    lethe.shutdown()
    return watch.resident, watch.private, max(first) - begin


def ends(journal: Path) -> list[tuple[float, float]]:
    """When each trial ended, seconds since 1970, and how long it had trained."""
    records = [json.loads(line[9:]) for line in journal.read_text().splitlines()]
    ended = [r for r in records if r.get("event", {}).get("type") == "ended"]
    return [(r["at"] / 1e3, r["event"]["timing"]["train_s"]) for r in ended]


def theirs(files: Path, slots: int) -> tuple[float, float, float]:
    run = [str(peer.environment()), str(Path(__file__).parent / "peers" / "load.py"), str(files)]
    begin = time.time()
    started = [subprocess.Popen(run, stdin=-1, stdout=-1, text=True) for _ in range(slots)]
    try:
        for process in started:
            assert process.stdout is not None
            if process.stdout.readline().strip() != "loaded":
                raise RuntimeError("a process that loads the files by pyarrow has ended")
        took = time.time() - begin
        resident, private = processes.memory_mb([process.pid for process in started])
    finally:
        for process in started:
            process.kill()
            process.wait()
    return resident, private, took


def measure() -> list[Figure]:
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        files = parquet.write(Path(folder) / "files", ROWS, "columns", label=True)
        lethe.shutdown()
        for slots in SLOTS:
            mine, other = ours(files, slots), theirs(files, slots)
            for what, unit, value, beside in zip(
                ("resident", "private", "load"), ("MB", "MB", "s"), mine, other, strict=True
            ):
                figures.append(compared(f"{what}_{slots}", value, unit, "processes", beside, ""))
    return figures
