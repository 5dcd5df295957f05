"""Steps per second of one of the Python loops on one thread, on the rows of a saved file; on a GPU the tuned
loop's rows lie there."""

import json
import sys

import torch
from torch_loops import dataloader_steps, mlp, rate, tuned_steps


def main() -> None:
    given = json.loads(sys.stdin.read())
    torch.set_num_threads(1)
    torch.manual_seed(1)
    data = torch.load(given["data"], weights_only=True)
    device = given.get("device", "cpu")
    model = mlp(hidden=given.get("hidden", 128)).to(device)
    x, y = data["x"], data["y"]
    if given["loop"] == "tuned":
        x, y = x.to(device), y.to(device)
    loop = {"dataloader": dataloader_steps, "tuned": tuned_steps}[given["loop"]]
    mixed = torch.autocast(device, torch.bfloat16, enabled=given.get("precision") == "bfloat16")
    with mixed:
        steps = rate(loop(x, y, given["batch"], 1e-3, model), given["seconds"])
    print(json.dumps({"steps_per_s": steps}))


if __name__ == "__main__":
    main()
