"""`asha_wall`, `asha_epochs`, `asha_accuracy`: 100 trials asked of ASHA (reduction 4, at most 20 epochs) on
the digits MLP and two slots, beside Optuna's SuccessiveHalvingPruner and Ray Tune's ASHAScheduler with the
same learning rates. Each counts from its first assignment to its last result, and scores the validation rows
after each epoch; the accuracy is the best of the trials' last. The peers' data lie in memory as tensors, and
Optuna's process is warm."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import torch

import lethe
from benchmarks import peer
from benchmarks.figure import Figure
from benchmarks.forty import BATCH, EPOCHS, SLOTS, digits, model

TRIALS, REDUCTION, ROUNDS = 100, 4, 3
#: The figures come from few hundred validation rows, and each searcher promotes others.
TOLERANCE = 0.02
PEERS = {"optuna": "asha_optuna.py", "ray": "asha_ray.py"}
AIMS = {
    "wall": ("s", "≤ 0.4 × optuna"),
    "epochs": ("epochs", "no more than optuna"),
    "accuracy": ("", "the same"),
}


def measure() -> list[Figure]:
    dataset = digits()
    train = lethe.Supervised(
        model=model, loss="cross_entropy", metrics=["accuracy"], epochs=EPOCHS, batch_size=BATCH
    )
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in ("lethe", *PEERS)}
    with tempfile.TemporaryDirectory() as folder:
        data = str(Path(folder) / "digits.pt")
        x, y = dataset.train.to_torch()
        vx, vy = dataset.validation.to_torch()
        torch.save({"x": x, "y": y, "vx": vx, "vy": vy}, data)
        for seed in range(ROUNDS):
            result = lethe.lagom(train, dataset, search(seed), spark=False, slots=SLOTS, quiet=True)
            rounds["lethe"].append(ours(result))
            given = {
                "data": data,
                "lr": [float(lr) for lr in result.trials.sort_values("trial")["lr"]],
                "seed": seed,
                "epochs": EPOCHS,
                "batch": BATCH,
                "slots": SLOTS,
                "reduction": REDUCTION,
            }
            for name, script in PEERS.items():
                rounds[name].append(theirs(peer.run(script, given)))
            print(
                json.dumps({name: found[-1] for name, found in rounds.items()}), file=sys.stderr, flush=True
            )
    return figures(rounds)


def search(seed: int) -> lethe.Search:
    return lethe.Search(
        lethe.SearchSpace(lr=lethe.loguniform(1e-4, 1e-1)),
        trials=TRIALS,
        metric="accuracy",
        direction="max",
        stopping=lethe.ASHA(reduction=REDUCTION),
        seed=seed,
    )


def ours(result: lethe.Result) -> dict[str, float]:
    trials = result.trials
    if len(trials) != TRIALS or trials["value"].isna().any():
        raise RuntimeError(f"not every trial has a value:\n{trials}")
    return {
        "wall": result.wall_s,
        "epochs": int(trials["epochs"].sum()),
        "accuracy": float(trials["value"].max()),
    }


def theirs(found: dict[str, Any]) -> dict[str, float]:
    if found["trials"] != TRIALS:
        raise RuntimeError(f"{found['trials']} trials of {TRIALS} ran")
    return {"wall": found["wall_s"], "epochs": found["epochs"], "accuracy": found["best"]}


def figures(rounds: dict[str, list[dict[str, float]]]) -> list[Figure]:
    """Medians of the rounds; the ratio is that to Optuna."""
    found = []
    for what, (unit, aim) in AIMS.items():
        value, *versus = (round(median(one[what] for one in runs), 4) for runs in rounds.values())
        beside = dict(zip(PEERS, versus, strict=True))
        found.append(Figure(f"asha_{what}", value, unit, beside, round(value / beside["optuna"], 3), aim))
    accuracy = found[-1]
    if accuracy.versus and max(accuracy.versus.values()) - accuracy.value > TOLERANCE:
        raise RuntimeError(f"the accuracies differ: {accuracy}")
    return found
