"""Functions and contexts of the tests of trials on several workers."""

import hashlib
import json
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

import lethe
from lethe.contexts import Entry, Listing

#: Rows of a batch.
BATCH = 50


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


def sharded(model: Any, dataset: Any, hparams: dict[str, Any], reporter: Any, checkpoint: Any) -> None:
    """Adam on a model in parts; halfway all is saved and loaded, as after a pause."""
    features, labels = dataset.train.to_torch()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    assert shapes["0.weight"] == (16, 64)
    note(hparams, local=[tuple(getattr(p, "_local_tensor", p).shape) for p in model.parameters()])
    for epoch in range(1, 5):
        for batch in dataset.train.batches(BATCH, epoch=epoch):
            loss = nn.functional.cross_entropy(model(batch["features"]), batch["label"])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            whole = nn.functional.cross_entropy(model(features), labels)
        checkpoint.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch})
        reporter.broadcast(whole, epoch)


def resumed(model: Any, dataset: Any, hparams: dict[str, Any], reporter: Any, checkpoint: Any) -> None:
    saved = checkpoint.load()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    begin = 0
    if saved is not None:
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        begin = saved["epoch"]
    note(hparams, begin=begin)
    mark = Path(hparams["notes"], "killed")
    features, labels = dataset.train.to_torch()
    for epoch in range(begin + 1, 5):
        for step, batch in enumerate(dataset.train.batches(BATCH, epoch=epoch)):
            if hparams["kill"] and epoch == 3 and step == 2 and lethe.rank() == 1 and not mark.exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            loss = nn.functional.cross_entropy(model(batch["features"]), batch["label"])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            whole = nn.functional.cross_entropy(model(features), labels)
        checkpoint.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch})
        reporter.broadcast(whole, epoch)


def plain(inputs: int) -> nn.Module:
    return make({"kind": "plain"}, inputs)


def with_hparams(train: Any, **more: Any) -> Any:
    """The function, with further hyperparameters."""

    def wrapped(model: Any, dataset: Any, hparams: dict[str, Any], reporter: Any, checkpoint: Any) -> Any:
        return train(model, dataset, {"kind": "plain", **hparams, **more}, reporter, checkpoint)

    return wrapped


def curious(model: Any, dataset: Any, hparams: dict[str, Any], reporter: Any) -> None:
    """Each way in which an attempt ends for one worker."""
    how, rank = hparams["how"], lethe.rank()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    steps, ended = 0, False
    try:
        for epoch in range(1, 7):
            for step, batch in enumerate(dataset.train.batches(BATCH, epoch=epoch)):
                if how == "raises" and rank == 1 and epoch == 2 and step == 3:
                    raise KeyError("what is not there")
                if how == "returns" and rank == 1 and epoch == 2 and step == 3:
                    ended = True
                    return
                nn.functional.cross_entropy(model(batch["features"]), batch["label"]).backward()
                optimizer.step()
                steps += 1
            # What the second says does not count.
            reporter.broadcast(float(epoch) if rank == 0 else -7.0, epoch)
        ended = True
    finally:
        note({**hparams, "kind": how}, steps=steps, ended=ended, world=lethe.world())
