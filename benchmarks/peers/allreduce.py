"""One of two processes that sum float32 tensors by torch.distributed's Gloo. Started by `ranks.py`; rank 0
writes the median seconds by the size in bytes."""

import json
import sys
import time
from pathlib import Path
from statistics import median

import torch
import torch.distributed as dist

WARM_UP = 3


def seconds(size: int, repeats: int) -> float:
    tensor, took = torch.zeros(size // 4), []
    for number in range(WARM_UP + repeats):
        dist.barrier()
        begin = time.perf_counter()
        dist.all_reduce(tensor)
        if number >= WARM_UP:
            took.append(time.perf_counter() - begin)
    return median(took)


def main() -> None:
    given = json.loads(sys.argv[1])
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    found = {size: seconds(int(size), repeats) for size, repeats in given["repeats"].items()}
    if dist.get_rank() == 0:
        Path(given["out"]).write_text(json.dumps(found))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
