"""One process of several that train the MLP 64-128-128-10 together, as a tuned loop of PyTorch's own does it:
Gloo, one thread, rows in memory, DistributedDataParallel, a fused Adam. Started by `ranks.py`; rank 0 writes
what came of it to a file. One process alone trains without DDP."""

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel


def mlp(inputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10)
    )


def train(given: dict[str, Any], rank: int, world: int) -> dict[str, float]:
    """`loss`: of the last epoch, over all ranks. `first_step`: seconds since 1970."""
    data = torch.load(given["data"], weights_only=True)
    x, y = data["x"], data["y"]
    torch.manual_seed(1)
    model: nn.Module = mlp(x.shape[1])
    if world > 1:
        model = DistributedDataParallel(
            model, gradient_as_bucket_view=True, broadcast_buffers=False, static_graph=True
        )
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    cross_entropy = nn.CrossEntropyLoss()
    # All begin together.
    dist.barrier()
    first_step, begin = time.time(), time.perf_counter()
    total = torch.zeros(())
    for epoch in range(given["epochs"]):
        # The same order on each rank, of which it takes its rows.
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(epoch))[rank::world]
        total.zero_()
        for rows in order.split(given["batch"]):
            optimizer.zero_grad(set_to_none=True)
            loss = cross_entropy(model(x.index_select(0, rows)), y.index_select(0, rows))
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(rows)
        dist.all_reduce(total)
    took = time.perf_counter() - begin
    return {"first_step": first_step, "train_s": took, "loss": total.item() / len(x)}


def main() -> None:
    given = json.loads(sys.argv[1])
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    found = train(given, rank, dist.get_world_size())
    if rank == 0:
        Path(given["out"]).write_text(json.dumps(found))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
