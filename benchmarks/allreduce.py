"""`allreduce_<bytes>`: GB/s (bytes / seconds) of a sum of float32 over two ranks on loopback, by the
trainer's bridge to libtorch's Gloo (`executor/trainer/examples/allreduce.rs`: two threads with connections of
their own), beside two processes of torch.distributed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from statistics import median

from benchmarks import peer
from benchmarks.example import built
from benchmarks.figure import Figure, compared

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
#: By bytes.
REPEATS = {1_000: 500, 100_000: 500, 1_000_000: 200, 10_000_000: 50, 100_000_000: 10}


def ours(example: Path, size: int) -> float:
    done = subprocess.run(
        [example, str(size), str(REPEATS[size])], check=True, stdout=subprocess.PIPE, text=True
    )
    return median(float(line) for line in done.stdout.split())


def theirs() -> dict[int, float]:
    given = {
        "launcher": "torchrun",
        "script": "allreduce.py",
        "processes": 2,
        "calls": 1,
        "arguments": {"repeats": REPEATS},
    }
    (found,) = peer.run("ranks.py", given, None)
    return {size: found[str(size)] for size in REPEATS}


def measure() -> list[Figure]:
    example = built("allreduce")
    seconds: dict[int, tuple[list[float], list[float]]] = {size: ([], []) for size in REPEATS}
    for _ in range(ROUNDS):
        beside = theirs()
        for size, (native, python) in seconds.items():
            native.append(ours(example, size))
            python.append(beside[size])
    return [
        compared(
            f"allreduce_{size}",
            size / 1e9 / median(native),
            "GB/s",
            "torch.distributed",
            size / 1e9 / median(python),
            "ratio ≥ 1",
        )
        for size, (native, python) in seconds.items()
    ]
