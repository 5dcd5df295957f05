"""What a Python user writes: the DataLoader loop, and a tuned one, of an MLP with dropout 0.1."""

import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def mlp(inputs: int = 64, hidden: int = 128) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, hidden),
        nn.ReLU(),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Dropout(0.1),
        nn.Linear(hidden, 10),
    )


def dataloader_steps(
    x: torch.Tensor, y: torch.Tensor, batch: int, lr: float, model: nn.Module
) -> Iterator[None]:
    """One training step for each `next`, for ever, where the model lies."""
    device = next(model.parameters()).device
    on_gpu = device.type == "cuda"
    loader = DataLoader(TensorDataset(x, y), batch_size=batch, shuffle=True, pin_memory=on_gpu)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    loss_function = nn.CrossEntropyLoss()
    while True:
        for rows in loader:
            features, label = (part.to(device, non_blocking=True) for part in rows) if on_gpu else rows
            optimizer.zero_grad()
            loss = loss_function(model(features), label)
            loss.backward()
            optimizer.step()
            yield


def tuned_steps(x: torch.Tensor, y: torch.Tensor, batch: int, lr: float, model: nn.Module) -> Iterator[None]:
    """Presliced tensors of an epoch's permutation, a fused optimizer."""
    optimizer = torch.optim.Adam(model.parameters(), lr=lr, fused=True)
    loss_function = nn.CrossEntropyLoss()
    while True:
        order = torch.randperm(len(x), device=x.device)
        for features, label in zip(x[order].split(batch), y[order].split(batch), strict=True):
            optimizer.zero_grad(set_to_none=True)
            loss_function(model(features), label).backward()
            optimizer.step()
            yield


def rate(steps: Iterator[None], seconds: float) -> float:
    """Steps per second, after a second of warm-up."""
    warm = time.perf_counter() + 1.0
    while time.perf_counter() < warm:
        next(steps)
    wait_for_gpu()
    count, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < seconds:
        next(steps)
        count += 1
    wait_for_gpu()
    return count / (time.perf_counter() - begin)


def wait_for_gpu() -> None:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def tensors(given: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The tensors `x`, `y` (training) and `vx`, `vy` (validation) of the file `given["data"]`."""
    found: dict[str, torch.Tensor] = torch.load(given["data"], weights_only=True)
    return found


def accuracies(data: dict[str, torch.Tensor], batch: int, lr: float, seed: int) -> Iterator[float]:
    """Trains one epoch for each `next`, for ever; the accuracy on the validation rows after it."""
    torch.manual_seed(seed)
    model = mlp(data["x"].shape[1])
    steps = tuned_steps(data["x"], data["y"], batch, lr, model)
    while True:
        model.train()
        for _ in range(-(-len(data["x"]) // batch)):
            next(steps)
        model.eval()
        with torch.no_grad():
            yield (model(data["vx"]).argmax(1) == data["vy"]).float().mean().item()
