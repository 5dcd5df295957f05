"""Gradients on two ranks, in two real processes over Gloo, beside those of one on the whole batch."""

import copy
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.utils.checkpoint import checkpoint

from lethe.errors import LetheError
from lethe.worker.gang.replica import replicate
from lethe.worker.gang.shares import Shares


class Net(nn.Module):
    """A part that only the second rank uses, one that nobody does, one that is frozen at first, and weights
    that have no gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.some = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 6)
        self.norm, self.out, self.unused = nn.BatchNorm1d(6), nn.Linear(6, 1), nn.Linear(2, 2)
        self.words = nn.Embedding(7, 6, sparse=True)
        self.first.requires_grad_(False)
        self.codes = nn.Parameter(torch.tensor([300, 5], dtype=torch.int16), requires_grad=False)
        self.mask = nn.Parameter(torch.tensor([True, False]), requires_grad=False)

    def forward(self, x: torch.Tensor, some: bool = False) -> torch.Tensor:
        words = self.words((x[:, 0] * 7).long())
        x = torch.tanh(self.first(x))
        x = checkpoint(self.second, x, use_reentrant=True) if x.requires_grad else self.second(x)
        x = x + words
        return self.out(self.some(x) if some else x).squeeze(1)


def gradients(model: nn.Module) -> dict[str, torch.Tensor | None]:
    return {
        name: None if p.grad is None else p.grad.to_dense().clone() for name, p in model.named_parameters()
    }


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    return torch.rand(5, 4, generator=generator), torch.rand(5, generator=generator)


def steps(model: Any, rows: slice, shares: Shares | None, empty: bool) -> list[Any]:
    """What each pass leaves. empty: this rank's row counts nothing, and is no number."""
    x, y = batch()
    found = []

    def loss(output: torch.Tensor) -> torch.Tensor:
        return (output - y[rows]).square().mean()

    def through() -> torch.Tensor:
        return loss(model(x[rows]))

    def parts() -> torch.Tensor:
        return loss(model.out(torch.tanh(model.second(model.first(x[rows])))).squeeze(1))

    def of_some() -> torch.Tensor:
        return loss(model(x[rows], some=True))

    passes: list[Callable[[], torch.Tensor]] = [through, parts, of_some]
    for one in passes:
        model.zero_grad()
        one().backward()
        found.append(gradients(model))
    # All is trained from here on, and two passes add up.
    model.first.requires_grad_(True)
    model.zero_grad()
    through().backward()
    parts().backward()
    found.append(gradients(model))
    if shares is not None:
        shares.current = 0.0 if empty else 1.0
        model.zero_grad()
        (through() * (float("nan") if empty else 1.0)).backward()
        found.append(gradients(model))
    return found


def made() -> Net:
    torch.manual_seed(2)
    return Net()


def rank_main(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", store=dist.FileStore(f"{folder}/store", 2), rank=rank, world_size=2)
    shares, model = Shares(rank, 2), made()
    if rank == 1:
        with torch.no_grad():
            # Rank 0's count.
            model.out.weight.add_(1.0)
            model.norm.running_mean.add_(3.0)
            model.codes.add_(1)
            model.mask.logical_not_()
    replicate(model, shares)
    assert type(model) is Net
    begun = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    shares.current = (2 if rank == 0 else 3) / 5
    found = steps(model, slice(0, 2) if rank == 0 else slice(2, 5), shares, rank == 1)
    # Only one of them uses a part; a copy trains alone.
    shares.current = (2 if rank == 0 else 3) / 5
    x, y = batch()
    rows = slice(0, 2) if rank == 0 else slice(2, 5)
    model.zero_grad()
    (model(x[rows], some=rank == 1) - y[rows]).square().mean().backward()
    uneven = gradients(model)
    twin = copy.deepcopy(model)
    twin.zero_grad()
    if rank == 0:
        (twin(x) - y).square().mean().backward()
    with torch.no_grad():
        model.norm.running_mean.fill_(float(rank + 1))
    model.zero_grad()
    model(x[rows]).mean().backward()
    result = {"found": found, "begun": begun, "uneven": uneven, "buffer": model.norm.running_mean}
    torch.save(result, f"{folder}/{rank}.pt")
    lazy = nn.Sequential(nn.LazyLinear(3))
    with pytest.raises(LetheError, match="lazy layers"):
        replicate(lazy, shares)
    dist.destroy_process_group()
    # It has outlived its group.
    model(x).mean().backward()


def equal(one: dict[str, Any], other: dict[str, Any]) -> None:
    for name, expected in one.items():
        got = other[name]
        assert (got is None) == (expected is None), name
        if expected is not None:
            torch.testing.assert_close(
                got, expected, rtol=1e-5, atol=1e-7, msg=lambda text, n=name: f"{n}: {text}"
            )


def test_two_ranks_have_the_gradients_of_one() -> None:
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(rank_main, (folder,), nprocs=2)
        ranks = [torch.load(Path(folder) / f"{rank}.pt") for rank in range(2)]
    one = steps(made(), slice(0, 5), None, False)
    for rank in ranks:
        equal(made().state_dict(), rank["begun"])
        for expected, got in zip(one, rank["found"], strict=False):
            equal(expected, got)
        assert rank["buffer"].tolist() == [1.0] * 6
    # One rank's rows alone, where the other's are no numbers and count nothing.
    alone = made()
    alone.first.requires_grad_(True)
    x, y = batch()
    (alone(x[:2]) - y[:2]).square().mean().backward()
    for rank in ranks:
        equal(gradients(alone), rank["found"][-1])
    # What one of them has used has a gradient on both, and what none has on neither.
    equal(ranks[0]["uneven"], ranks[1]["uneven"])
    assert ranks[0]["uneven"]["some.weight"] is not None
    assert ranks[0]["uneven"]["unused.weight"] is None
