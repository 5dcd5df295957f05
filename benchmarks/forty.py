"""`forty_trials`: 40 random trials × 20 epochs of the digits MLP on two slots, against two forked processes
that run the usual DataLoader loop on the same trials. Both count from the first trial to the last result, and
score the validation rows after each epoch."""

from __future__ import annotations

import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow as pa
import torch
from sklearn.datasets import load_digits
from torch import nn

import lethe
from benchmarks import peer
from benchmarks.figure import Figure, compared

TRIALS, EPOCHS, BATCH, SLOTS, ROUNDS = 40, 20, 128, 2, 3


def model(hparams: dict[str, Any], inputs: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(inputs, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Dropout(0.1), nn.Linear(128, 10)
    )


def digits() -> lethe.Dataset:
    images, labels = load_digits(return_X_y=True)
    pixels = pa.array(list((images / 16).astype("float32")), pa.list_(pa.float32()))
    table = pa.table({"pixels": pixels, "digit": pa.array(labels, pa.int64())})
    return lethe.Dataset.from_arrow(table, features="pixels", label="digit").split(validation=0.2, seed=7)


def measure() -> list[Figure]:
    dataset = digits()
    train = lethe.Supervised(
        model=model, loss="cross_entropy", metrics=["accuracy"], epochs=EPOCHS, batch_size=BATCH
    )
    space = lethe.SearchSpace(lr=lethe.loguniform(1e-4, 1e-1))
    search = lethe.Search(space, trials=TRIALS, metric="accuracy", direction="max", seed=1)
    ours, theirs = [], []
    with tempfile.TemporaryDirectory() as folder:
        data = str(Path(folder) / "digits.pt")
        for _ in range(ROUNDS):
            result = lethe.lagom(train, dataset, search, spark=False, slots=SLOTS, quiet=True)
            x, y = dataset.train.to_torch()
            vx, vy = dataset.validation.to_torch()
            torch.save({"x": x, "y": y, "vx": vx, "vy": vy}, data)
            given = {
                "data": data,
                "lr": [float(lr) for lr in result.trials["lr"]],
                "epochs": EPOCHS,
                "batch": BATCH,
                "slots": SLOTS,
            }
            peers = peer.run("forty_trials.py", given)
            if abs(peers["best"] - result.best.metrics["accuracy"]) > 0.03:
                raise RuntimeError(f"the best accuracies differ: {peers['best']}, {result.best.metrics}")
            ours.append(result.wall_s)
            theirs.append(peers["wall_s"])
    return [compared("forty_trials", median(ours), "s", "dataloader", median(theirs), "ratio ≤ 0.4")]
