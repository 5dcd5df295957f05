"""`allreduce_<bytes>`: GB/s (bytes / seconds) of a sum of float32 over two ranks of one host, as gradients go
there: through memory (`executor/trainer/examples/allreduce.rs`, two threads). `allreduce_gloo_<bytes>`: by
the trainer's bridge to libtorch's Gloo, as between hosts, on loopback. Both beside two processes of
torch.distributed."""

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


def ours(example: Path, size: int, how: str) -> float:
    done = subprocess.run(
        [example, str(size), str(REPEATS[size]), how], check=True, stdout=subprocess.PIPE, text=True
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
    seconds: dict[str, dict[int, list[float]]] = {}
    for _ in range(ROUNDS):
        beside = theirs()
        for size in REPEATS:
            for how in ("memory", "gloo"):
                seconds.setdefault(how, {}).setdefault(size, []).append(ours(example, size, how))
            seconds.setdefault("peer", {}).setdefault(size, []).append(beside[size])

    def figure(name: str, how: str, size: int) -> Figure:
        rate, peers = (size / 1e9 / median(seconds[one][size]) for one in (how, "peer"))
        return compared(f"{name}_{size}", rate, "GB/s", "torch.distributed", peers, "ratio ≥ 1")

    names = {"memory": "allreduce", "gloo": "allreduce_gloo"}
    return [figure(name, how, size) for how, name in names.items() for size in REPEATS]
