"""`steps_128_dataloader`, `steps_128_tuned`, `steps_1024_tuned`: training steps per second on one thread,
MLP 64-128-128-10 with dropout 0.1 and Adam, beside a DataLoader loop and a tuned Python loop."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow as pa
import torch
from torch import nn

from benchmarks import peer
from benchmarks.figure import Figure, compared
from benchmarks.forty import model
from lethe.model import weights
from lethe.model.program import save_without_weights
from lethe.model.schema import SCHEMA
from lethe.model.script import script

ROWS, WIDTH, SECONDS, ROUNDS = 50_000, 64, 4.0, 3
ROOT = Path(__file__).parent.parent


def trainer_example() -> Path:
    """The trainer's loop as a program of its own, `executor/trainer/examples/steps.rs`."""
    libtorch = str(Path(torch.__file__).parent)
    built = subprocess.run(
        ["cargo", "build", "--release", "--workspace", "--examples", "--message-format=json"],
        cwd=ROOT,
        env={**os.environ, "LIBTORCH": libtorch, "LIBTORCH_CXX11_ABI": "1"},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    for line in built.stdout.splitlines():
        message = json.loads(line)
        if message.get("executable") and message["target"]["name"] == "steps":
            return Path(message["executable"])
    raise RuntimeError("cargo built no example named steps")


def prepare(folder: Path, module: nn.Module) -> dict[str, str]:
    """Program, weights, view and the peers' rows: the same numbers for all."""
    with (
        pa.OSFile(str(folder / "weights.arrow"), "wb") as sink,
        pa.ipc.new_file(sink, SCHEMA) as writer,
    ):
        for batch in weights.batches(weights.named(module)):
            writer.write_batch(batch)
    (folder / "program.pt").write_bytes(save_without_weights(script(module)))
    x, y = torch.rand(ROWS, WIDTH), torch.randint(10, (ROWS,))
    torch.save({"x": x, "y": y}, folder / "rows.pt")
    features, labels = x.numpy().tobytes(), y.numpy().tobytes()
    order = torch.arange(ROWS, dtype=torch.int32).numpy().tobytes()
    offsets, content = [], b""
    for section in (features, labels, order):
        content += b"\0" * (-len(content) % 64)
        offsets.append(len(content))
        content += section
    (folder / "rows.view").write_bytes(content)
    view = {
        "path": str(folder / "rows.view"),
        "rows": ROWS,
        "inputs": [{"name": "features", "dtype": "float32", "shape": [WIDTH], "offset": offsets[0]}],
        "label": {"name": "class", "dtype": "int64", "shape": [], "offset": offsets[1]},
        "split_offset": offsets[2],
        "train": ROWS,
        "validation": 0,
        "test": 0,
        "order": {},
    }
    (folder / "view.json").write_text(json.dumps(view))
    return {name: str(folder / name) for name in ("program.pt", "weights.arrow", "view.json", "rows.pt")}


def ours(
    example: Path, files: dict[str, str], batch: int, gpu: str = "", precision: str = "float32"
) -> dict[str, Any]:
    """What the example prints. gpu: as CUDA_VISIBLE_DEVICES has it, empty for the CPU."""
    given = [files["program.pt"], files["weights.arrow"], files["view.json"], batch, SECONDS, precision]
    done = subprocess.run(
        [example, *map(str, given)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": gpu},
    )
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def measure() -> list[Figure]:
    example = trainer_example()
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(1)
        files = prepare(Path(folder), model({}, WIDTH))
        for _ in range(ROUNDS):
            for batch in (128, 1024):
                rate = ours(example, files, batch)["steps_per_s"]
                found.setdefault(f"lethe_{batch}", []).append(rate)
                for loop in ("dataloader", "tuned"):
                    given = {"data": files["rows.pt"], "batch": batch, "seconds": SECONDS, "loop": loop}
                    rate = peer.run("steps.py", given)["steps_per_s"]
                    found.setdefault(f"{loop}_{batch}", []).append(rate)
    middle = {name: median(rates) for name, rates in found.items()}
    return [
        compared(
            f"steps_{batch}_{loop}", middle[f"lethe_{batch}"], "steps/s", loop, middle[f"{loop}_{batch}"], aim
        )
        for batch, loop, aim in (
            (128, "dataloader", "ratio ≥ 2.2"),
            (128, "tuned", "ratio ≥ 1.4"),
            (1024, "tuned", "ratio ≥ 0.97"),
        )
    ]
