"""The small searches that several tests run."""

from typing import Any

import torch
from torch import nn

import lethe


def mlp(hparams: dict[str, Any], inputs: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(inputs, hparams.get("width", 32)),
        nn.ReLU(),
        nn.Dropout(hparams.get("dropout", 0.0)),
        nn.Linear(hparams.get("width", 32), 10),
    )


def training(**changes: Any) -> lethe.Supervised:
    return lethe.Supervised(
        **{
            "model": mlp,
            "loss": "cross_entropy",
            "metrics": ["accuracy"],
            "epochs": 3,
            "batch_size": 32,
            **changes,
        }
    )


def search(trials: int, **changes: Any) -> lethe.Search:
    space = lethe.SearchSpace(
        lr=lethe.loguniform(1e-3, 1e-2), width=lethe.integer(16, 64), dropout=lethe.uniform(0.0, 0.3)
    )
    return lethe.Search(
        changes.pop("space", space),
        **{"trials": trials, "metric": "accuracy", "direction": "max", "seed": 3, **changes},
    )


def accuracy(model: nn.Module, part: lethe.Part) -> float:
    """The share of a part's rows that the model gets right, in PyTorch."""
    features, labels = part.to_torch()
    with torch.no_grad():
        return float((model(features).argmax(dim=1) == labels).double().mean())
