"""`gpu_128`, `gpu_4096`, `gpu_4096_bfloat16`: training steps per second on one GPU, beside PyTorch there. The
small model is the MLP 64-128-128-10 with 128 rows a step, whose kernels take less time than their launches;
the large one 64-4096-4096-10 with 4096 rows. Both with dropout 0.1, Adam and cross entropy, 50,000 rows.
PyTorch's loops: `dataloader`, batches from pinned memory; `resident`, rows that lie on the GPU and a fused
optimizer. For a machine that has a GPU."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks import peer
from benchmarks.figure import Figure
from benchmarks.peers.torch_loops import mlp
from benchmarks.steps import ROUNDS, SECONDS, ours, prepare, trainer_example

#: Name, hidden units, rows of a step, precision.
CASES = (
    ("gpu_128", 128, 128, "float32"),
    ("gpu_4096", 4096, 4096, "float32"),
    ("gpu_4096_bfloat16", 4096, 4096, "bfloat16"),
)
LOOPS = {"dataloader": "dataloader", "resident": "tuned"}


def measure() -> list[Figure]:
    if not torch.cuda.is_available():
        raise SystemExit(
            "the benchmark gpu needs a GPU that PyTorch can use; torch.cuda.is_available() says no"
        )
    example = trainer_example()
    figures = []
    for name, hidden, batch, precision in CASES:
        rates: dict[str, list[float]] = {"lethe": [], **{loop: [] for loop in LOOPS}}
        with tempfile.TemporaryDirectory() as folder:
            torch.manual_seed(1)
            files = prepare(Path(folder), mlp(hidden=hidden))
            for _ in range(ROUNDS):
                found = ours(example, files, batch, "0", precision)
                if found["device"] != "cuda:0":
                    raise RuntimeError(f"the trainer ran on {found['device']}")
                rates["lethe"].append(found["steps_per_s"])
                for loop, how in LOOPS.items():
                    given: dict[str, Any] = {
                        "data": files["rows.pt"],
                        "batch": batch,
                        "seconds": SECONDS,
                        "loop": how,
                    }
                    given |= {"device": "cuda", "hidden": hidden, "precision": precision}
                    rates[loop].append(peer.run("steps.py", given, None)["steps_per_s"])
        print(json.dumps({name: rates}), file=sys.stderr, flush=True)
        middle = {loop: median(found) for loop, found in rates.items()}
        value = middle.pop("lethe")
        versus = {loop: round(found, 1) for loop, found in middle.items()}
        ratio = round(value / max(middle.values()), 3)
        figures.append(Figure(name, round(value, 1), "steps/s", versus, ratio, "ratio ≥ 1 to the faster"))
    return figures
