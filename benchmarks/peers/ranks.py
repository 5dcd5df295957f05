"""Starts a script of this folder as several processes, by `torchrun` or Spark's `TorchDistributor`; prints
what its rank 0 wrote at each call, with the seconds since 1970 at which the call began."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# torchrun's processes inherit it.
os.environ["OMP_NUM_THREADS"] = "1"
HERE = Path(__file__).parent

Launch = Callable[[str, str], None]


@contextmanager
def torchrun(processes: int) -> Iterator[Launch]:
    def launch(script: str, arguments: str) -> None:
        run = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        subprocess.run([*run, f"--nproc-per-node={processes}", script, arguments], check=True)

    yield launch


@contextmanager
def distributor(processes: int, local_mode: bool) -> Iterator[Launch]:
    """local_mode: the processes are children of Spark's driver; else of its tasks."""
    from pyspark.ml.torch.distributor import TorchDistributor
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
    spark = builder.config("spark.ui.showConsoleProgress", "false").getOrCreate()

    def launch(script: str, arguments: str) -> None:
        TorchDistributor(num_processes=processes, local_mode=local_mode, use_gpu=False).run(script, arguments)

    try:
        yield launch
    finally:
        spark.stop()


def main() -> None:
    given: dict[str, Any] = json.loads(sys.stdin.read())
    processes, found = given["processes"], []
    launchers = {
        "torchrun": lambda: torchrun(processes),
        "TorchDistributor": lambda: distributor(processes, True),
        "TorchDistributor in tasks": lambda: distributor(processes, False),
    }
    with tempfile.TemporaryDirectory() as folder, launchers[given["launcher"]]() as launch:
        for call in range(given["calls"]):
            out = Path(folder) / f"{call}.json"
            began = time.time()
            launch(str(HERE / given["script"]), json.dumps({**given["arguments"], "out": str(out)}))
            found.append({"began": began, **json.loads(out.read_text())})
    print(json.dumps(found))


if __name__ == "__main__":
    main()
