"""`feed_first_epoch_…`, `feed_later_epochs_…`, `feed_memcpy_…`: rows per second from Parquet, 64 float32 a
row, to shuffled batches of 1,024, beside pyarrow (which does not shuffle), a DataLoader, petastorm and
Ray Data.

Nothing trains. `…_native` is the way that training goes: the executor builds the view, then a thread of
the example `executor/view/examples/feed.rs` maps it, makes the epoch's order and copies each batch into a
buffer; its first epoch counts from `Dataset.from_files` to the view's first batch, and then that thread's
epoch. `…_python` is `dataset.train.batches` in this process, over Flight, as torch tensors. Before the
clock runs the executor does, and this process and the peers' have loaded torch. Files have 64 columns;
for `…_list` one of arrays.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

import lethe
from benchmarks import parquet, peer
from benchmarks.example import built
from benchmarks.figure import Figure, alone, compared
from lethe.application.application import Application
from lethe.application.registry import application

ROWS = int(os.environ.get("BENCH_ROWS", "2_000_000"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
BATCH, EPOCHS, SEED = 1024, 4, 1
#: By the environment that they need.
PEERS = {"pyarrow": "peers", "dataloader": "peers", "petastorm": "petastorm", "ray": "peers"}
#: No peer's two epochs take longer, seconds.
PATIENCE = 180
LAYOUTS = {"columns": parquet.COLUMNS, "list": ["f"]}

#: Rows per second by what fed them: in the first epoch, and in later ones.
Rates = dict[str, tuple[list[float], list[float]]]


def add(rates: Rates, name: str, epochs: list[float]) -> None:
    first, later = rates.setdefault(name, ([], []))
    first.append(epochs[0])
    later.append(median(epochs[1:]))


def epoch_s(dataset: lethe.Dataset, epoch: int) -> tuple[float, float]:
    """Seconds to the first batch and to the last, of batches in this process."""
    begin, first, rows = time.perf_counter(), 0.0, 0
    for batch in dataset.train.batches(BATCH, seed=SEED, epoch=epoch):
        first = first or time.perf_counter() - begin
        features: torch.Tensor = batch["features"]
        rows += features.shape[0]
    if rows != ROWS:
        raise RuntimeError(f"an epoch gave {rows} rows of {ROWS}")
    return first, time.perf_counter() - begin


def described(owner: Application) -> dict[str, Any]:
    """The message `View` of the one view that the local executor has: all rows train, in one input."""
    (path,) = owner.folder.rglob("*.view")
    return {
        "path": str(path),
        "rows": ROWS,
        "inputs": [{"name": "features", "dtype": "float32", "shape": [parquet.WIDTH], "offset": 0}],
        "split_offset": path.stat().st_size - 4 * ROWS,
        "train": ROWS,
        "validation": 0,
        "test": 0,
        "order": {},
    }


def native_s(example: Path, owner: Application, folder: Path) -> list[float]:
    """Seconds of each epoch, mapping the view included in the first."""
    (folder / "view.json").write_text(json.dumps(described(owner)))
    run = [example, folder / "view.json", str(BATCH), str(EPOCHS)]
    found = json.loads(subprocess.run(run, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return [found["open_s"] + found["epoch_s"][0], *found["epoch_s"][1:]]


def ours(files: Path, columns: list[str], rates: Rates, native: Path | None, folder: Path) -> float:
    """Adds a round's rates; returns the seconds from the dataset to its first batch."""
    owner = application(None)
    owner.executor()
    begin = time.perf_counter()
    dataset = lethe.Dataset.from_files(files, features=columns[0] if len(columns) == 1 else columns)
    created = time.perf_counter() - begin
    (first, whole), *later = [epoch_s(dataset, epoch) for epoch in range(1, EPOCHS + 1)]
    add(rates, "python", [ROWS / s for s in (created + whole, *(whole for _, whole in later))])
    if native is not None:
        took = native_s(native, owner, folder)
        add(rates, "native", [ROWS / s for s in (created + first + took[0], *took[1:])])
    dataset.unpersist()
    lethe.shutdown()
    return created + first


def memcpy() -> float:
    """Rows per second of a copy of as many bytes to memory that has been touched, on one thread."""
    source = np.ones((ROWS, parquet.WIDTH), dtype="float32")
    target = np.zeros_like(source)
    target.fill(0)
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        np.copyto(target, source)
        times.append(time.perf_counter() - begin)
    return ROWS / median(times)


def peers(files: Path, columns: list[str], rates: Rates, missing: set[str]) -> None:
    for loop, environment in PEERS.items():
        if loop in missing:
            continue
        # A peer's later epochs are like each other: one is enough.
        given = {
            "loop": loop,
            "files": str(files),
            "columns": columns,
            "batch": BATCH,
            "rows": ROWS,
            "epochs": 2,
        }
        try:
            found = peer.run("feed.py", given, environment, PATIENCE)
            add(rates, loop, found["rates"])
        except subprocess.TimeoutExpired:
            said(f"{loop} is left out: it took more than {PATIENCE} s")
            missing.add(loop)
        except (RuntimeError, subprocess.CalledProcessError) as error:
            said(f"{loop} is left out: {str(error).strip().splitlines()[-1]}")
            missing.add(loop)


def said(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def example() -> Path | None:
    if shutil.which("cargo") is None:
        said("the native gather is left out: cargo was not found, and builds its example")
        return None
    return built("feed")


def measure() -> list[Figure]:
    native = example()
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for layout, columns in LAYOUTS.items():
            files = parquet.write(folder / layout, ROWS, layout)
            rates: Rates = {}
            missing: set[str] = set()
            copies, opening = [], []
            for number in range(ROUNDS):
                peers(files, columns, rates, missing)
                opening.append(ours(files, columns, rates, native, folder))
                copies.append(memcpy())
                said(f"{layout}, round {number + 1} of {ROUNDS}, load {os.getloadavg()[0]:.1f}")
            shutil.rmtree(files)
            figures += layout_figures("" if layout == "columns" else "_list", rates, copies, opening)
    return figures


def layout_figures(suffix: str, rates: Rates, copies: list[float], opening: list[float]) -> list[Figure]:
    def middle(which: int) -> Callable[[str], float]:
        return lambda name: median(rates[name][which])

    found = []
    of_peers = [name for name in rates if name in PEERS]
    for which, (what, aim) in enumerate((("first_epoch", "ratio ≥ 1"), ("later_epochs", "ratio ≥ 3"))):
        fastest = max(of_peers, key=middle(which))
        for way in ("native", "python"):
            if way in rates:
                value, beside = middle(which)(way), {n: round(middle(which)(n)) for n in of_peers}
                ratio = round(value / middle(which)(fastest), 3)
                figure = f"feed_{what}_{way}{suffix}"
                found.append(Figure(figure, round(value), "rows/s", beside, ratio, f"{aim}, of the fastest"))
    for way in ("native", "python"):
        if way in rates:
            figure, value = f"feed_memcpy_{way}{suffix}", middle(1)(way)
            found.append(compared(figure, value, "rows/s", "memcpy", median(copies), "ratio ≥ 0.7"))
    found.append(alone(f"feed_first_batch{suffix}", median(opening), "s", "the view's build"))
    return found
