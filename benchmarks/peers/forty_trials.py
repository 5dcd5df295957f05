"""The digits MLP with the usual DataLoader loop, in two forked processes that share the trials."""

import json
import multiprocessing
import sys
import time

import torch
from torch_loops import dataloader_steps, mlp


def trial(data: dict[str, torch.Tensor], lr: float, seed: int, epochs: int, batch: int) -> float:
    torch.manual_seed(seed)
    model = mlp()
    steps = dataloader_steps(data["x"], data["y"], batch, lr, model)
    per_epoch = -(-len(data["x"]) // batch)
    accuracy = 0.0
    for _ in range(epochs):
        model.train()
        for _ in range(per_epoch):
            next(steps)
        model.eval()
        with torch.no_grad():
            accuracy = (model(data["vx"]).argmax(1) == data["vy"]).float().mean().item()
    return accuracy


def worker(data, trials, epochs, batch, barrier, best) -> None:
    torch.set_num_threads(1)
    barrier.wait()
    found = max(trial(data, lr, seed, epochs, batch) for seed, lr in trials)
    with best.get_lock():
        best.value = max(best.value, found)
    barrier.wait()


def main() -> None:
    given = json.loads(sys.stdin.read())
    torch.set_num_threads(1)
    data = torch.load(given["data"], weights_only=True)
    context = multiprocessing.get_context("fork")
    slots, trials = given["slots"], list(enumerate(given["lr"]))
    barrier, best = context.Barrier(slots + 1), context.Value("d", 0.0)
    workers = [
        context.Process(
            target=worker, args=(data, trials[i::slots], given["epochs"], given["batch"], barrier, best)
        )
        for i in range(slots)
    ]
    for process in workers:
        process.start()
    barrier.wait()
    begin = time.perf_counter()
    barrier.wait()
    wall = time.perf_counter() - begin
    for process in workers:
        process.join()
    print(json.dumps({"wall_s": wall, "best": best.value}))


if __name__ == "__main__":
    main()
