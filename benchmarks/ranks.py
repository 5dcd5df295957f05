"""`distributed_2`: rows per second of two native ranks beside one, one thread each: MLP 64-128-128-10, Adam,
cross entropy, 200,000 rows of 64 float32, 128 rows a rank and step. `distributed_2_torchrun` and
`distributed_2_distributor`: beside two processes of `torchrun` and of Spark's TorchDistributor with the same
model, batch and optimizer, over Gloo too; `torchrun_2` and `distributor_2`: these beside one process of
theirs. `distributed_2_apart`: beside two trials at once that train alone, which is what the machine gives
two processes; what is lost to it goes to the ranks' waiting for each other.

Each counts from its first step to its last epoch's training loss, over all ranks.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow as pa
import torch
from torch import nn

import lethe
from benchmarks import peer
from benchmarks.figure import Figure, compared

ROWS = int(os.environ.get("BENCH_ROWS", "200_000"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
WIDTH, BATCH, EPOCHS, WORLDS = 64, 128, 3, (1, 2)
PEERS = {"torchrun": "torchrun", "distributor": "TorchDistributor"}
#: They begin with other weights and shuffle otherwise.
TOLERANCE = 0.03


def model(hparams: dict[str, Any], inputs: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(inputs, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10)
    )


def rows(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Features `[count, 64]` and classes from 0 to 9 `[count]` that a linear model tells."""
    random = torch.Generator().manual_seed(1)
    x = torch.rand(count, WIDTH, generator=random)
    return x, (x @ torch.randn(WIDTH, 10, generator=random)).argmax(1)


def table(x: torch.Tensor, y: torch.Tensor) -> pa.Table:
    features = pa.FixedSizeListArray.from_arrays(pa.array(x.flatten().numpy()), WIDTH)
    return pa.table({"features": features, "class": pa.array(y.numpy())})


def training(world: int, epochs: int) -> lethe.Supervised:
    return lethe.Supervised(model=model, loss="cross_entropy", epochs=epochs, batch_size=BATCH * world)


def ours(dataset: lethe.Dataset, world: int) -> tuple[float, float]:
    """Rows per second, and the last epoch's training loss."""
    context = lethe.Distributed(workers=world)
    train = training(world, EPOCHS)
    result = lethe.lagom(train, dataset, context, spark=False, slots=world, quiet=True)
    (trial,) = result.trials.to_dict("records")
    return EPOCHS * ROWS / trial["train_s"], trial["train_loss"]


def apart(dataset: lethe.Dataset) -> float:
    """Rows per second of two trials together, one on each slot."""
    search = lethe.Search(
        lethe.SearchSpace(lr=lethe.uniform(0.0009, 0.0011)), trials=2, metric="train_loss", direction="min"
    )
    result = lethe.lagom(training(1, EPOCHS), dataset, search, spark=False, slots=2, quiet=True)
    return float((EPOCHS * ROWS / result.trials["train_s"]).sum())


def theirs(launcher: str, world: int, data: Path) -> tuple[float, float]:
    given = {
        "launcher": launcher,
        "script": "ddp.py",
        "processes": world,
        "calls": 1,
        "arguments": {"data": str(data), "batch": BATCH, "epochs": EPOCHS},
    }
    (found,) = peer.run("ranks.py", given, None)
    return EPOCHS * ROWS / found["train_s"], found["loss"]


def measure() -> list[Figure]:
    x, y = rows(ROWS)
    dataset = lethe.Dataset.from_arrow(table(x, y), features="features", label="class")
    rates: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "rows.pt"
        torch.save({"x": x, "y": y}, data)
        for _ in range(ROUNDS):
            for world in WORLDS:
                runs = {"lethe": ours(dataset, world)}
                runs |= {name: theirs(launcher, world, data) for name, launcher in PEERS.items()}
                losses = [loss for _, loss in runs.values()]
                if max(losses) - min(losses) > TOLERANCE:
                    raise RuntimeError(f"the training losses differ: {runs}")
                for name, (rate, _) in runs.items():
                    rates.setdefault(f"{name}_{world}", []).append(rate)
            rates.setdefault("apart_2", []).append(apart(dataset))
            found = {name: round(of[-1]) for name, of in rates.items()}
            print(json.dumps({**found, "load": os.getloadavg()[0]}), file=sys.stderr, flush=True)
    lethe.shutdown()
    return figures({name: median(of) for name, of in rates.items()})


def figures(rates: dict[str, float]) -> list[Figure]:
    def beside(figure: str, name: str, other: str, aim: str) -> Figure:
        return compared(figure, round(rates[name]), "rows/s", other, round(rates[other]), aim)

    found = [beside("distributed_2", "lethe_2", "lethe_1", "ratio ≥ 1.2")]
    found += [beside("distributed_2_apart", "lethe_2", "apart_2", "where the rest goes")]
    found += [beside(f"distributed_2_{name}", "lethe_2", f"{name}_2", "ratio ≥ 1") for name in PEERS]
    return found + [beside(f"{name}_2", f"{name}_2", f"{name}_1", "the peer's own") for name in PEERS]
