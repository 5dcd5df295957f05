"""Steps per second of both Python loops on one thread, on the rows of a saved file."""

import json
import sys

import torch
from torch_loops import dataloader_steps, mlp, rate, tuned_steps


def main() -> None:
    given = json.loads(sys.stdin.read())
    torch.set_num_threads(1)
    torch.manual_seed(1)
    data = torch.load(given["data"], weights_only=True)
    loop = {"dataloader": dataloader_steps, "tuned": tuned_steps}[given["loop"]]
    print(
        json.dumps(
            {"steps_per_s": rate(loop(data["x"], data["y"], given["batch"], 1e-3, mlp()), given["seconds"])}
        )
    )


if __name__ == "__main__":
    main()
