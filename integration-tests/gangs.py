"""Functions and contexts of the tests of trials on several workers."""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

import lethe
from lethe.contexts import Entry, Listing


@dataclass(frozen=True)
class Several(Listing):
    """The same training for each number of workers, for each of these hyperparameters, in one experiment."""

    hparams: Sequence[dict[str, Any]] = field(default_factory=list)
    workers: Sequence[int] = (1, 2, 3)

    def entries(self, dataset: Any) -> Sequence[Entry]:
        return [
            Entry(f"{workers} workers", {**hparams, "workers": workers}, workers=workers)
            for hparams in self.hparams
            for workers in self.workers
        ]


class Parts(nn.Module):
    """Used by its parts, one of which is not used at all."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(inputs, 16), nn.Tanh())
        self.head = nn.Linear(16, 10)
        self.unused = nn.Linear(3, 3)

    def loss(self, features: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(self.head(self.encoder(features)), label)


def make(hparams: dict[str, Any], inputs: int) -> nn.Module:
    if hparams["kind"] == "parts":
        return Parts(inputs)
    return nn.Sequential(nn.Linear(inputs, 16), nn.Tanh(), nn.Linear(16, 10))


def digest(model: nn.Module) -> str:
    state = model.state_dict()
    data = b"".join(name.encode() + tensor.numpy().tobytes() for name, tensor in sorted(state.items()))
    return hashlib.sha256(data).hexdigest()


def note(hparams: dict[str, Any], **what: Any) -> None:
    """What this rank has seen, for the test to read."""
    path = (
        Path(hparams["notes"]) / f"{hparams['kind']}-{hparams.get('workers', 0)}-{lethe.rank()}-{os.getpid()}"
    )
    with path.open("a") as file:
        file.write(json.dumps({"rank": lethe.rank(), "world": lethe.world(), **what}) + "\n")


def notes(folder: Path, kind: str, workers: int = 0) -> list[dict[str, Any]]:
    files = sorted(folder.glob(f"{kind}-{workers}-*"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def descend(model: Any, dataset: Any, hparams: dict[str, Any], reporter: Any) -> None:
    """SGD; notes the loss of all training rows after each step."""
    features, labels = dataset.train.to_torch()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    # By it a row is known.
    weights = torch.rand(features.shape[1], generator=torch.Generator().manual_seed(1))
    for epoch in range(1, hparams["epochs"] + 1):
        seen, losses = [], []
        for batch in dataset.train.batches(hparams["batch"], epoch=epoch):
            seen.append((batch["features"] * weights).sum(dim=1).tolist())
            if hparams["kind"] == "parts":
                loss = model.loss(batch["features"], batch["label"])
            else:
                loss = nn.functional.cross_entropy(model(batch["features"]), batch["label"])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                if hparams["kind"] == "parts":
                    whole = model.loss(features, labels)
                else:
                    whole = nn.functional.cross_entropy(model(features), labels)
            losses.append(float(whole))
        note(hparams, epoch=epoch, seen=seen, losses=losses, weights=digest(model))
        reporter.broadcast(losses[-1], epoch)
