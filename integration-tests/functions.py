"""Python training functions that several tests run."""

from typing import Any

import torch
from torch import nn

import lethe


def net(hparams: dict[str, Any], inputs: int) -> nn.Module:
    width = hparams.get("width", 32)
    return nn.Sequential(
        nn.Linear(inputs, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.2), nn.Linear(width, 10)
    )


def fit(model: nn.Module, dataset: Any, hparams: dict[str, Any], reporter: Any, checkpoint: Any) -> None:
    """Everything that has to be saved: BatchNorm, Adam, a schedule, dropout; it says each step's loss."""
    optimizer = torch.optim.Adam(model.parameters(), lr=hparams["lr"])
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 2, gamma=0.5)
    begin, saved = 0, checkpoint.load()
    if saved is not None:
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        schedule.load_state_dict(saved["schedule"])
        begin = saved["epoch"]
    for epoch in range(begin, hparams.get("epochs", 3)):
        loss = train_epoch(model, optimizer, dataset, epoch)
        schedule.step()
        state = {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "schedule": schedule.state_dict(),
            "epoch": epoch + 1,
        }
        checkpoint.save(state)
        reporter.broadcast({"accuracy": score(model, dataset), "train_loss": loss}, epoch)


def fit_without_saving(model: nn.Module, dataset: Any, hparams: dict[str, Any], reporter: Any) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=hparams["lr"])
    for epoch in range(hparams.get("epochs", 3)):
        train_epoch(model, optimizer, dataset, epoch)
        reporter.broadcast(score(model, dataset), epoch)


def train_epoch(model: nn.Module, optimizer: Any, dataset: Any, epoch: int) -> float:
    model.train()
    total = 0.0
    for batch in dataset.train.batches(64, epoch=epoch + 1):
        loss = nn.functional.cross_entropy(model(batch["features"]), batch["label"])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()
    return total


def score(model: nn.Module, dataset: Any) -> float:
    model.eval()
    features, labels = dataset.validation.to_torch()
    with torch.no_grad():
        return float((model(features).argmax(dim=1) == labels).double().mean())


def fitting(**options: Any) -> lethe.Function:
    return lethe.Function(fit, net, **{"epochs": 3, **options})
