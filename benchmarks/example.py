"""The Rust crates' examples, which benchmarks run as programs of their own."""

from __future__ import annotations

import json
import os
import subprocess
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parent.parent


def built(name: str) -> Path:
    """Builds the workspace's examples as the Makefile builds all else; the path of this one."""
    torch = find_spec("torch")
    if torch is None or torch.origin is None:
        raise RuntimeError("torch is not installed: make setup")
    build = subprocess.run(
        ["cargo", "build", "--release", "--workspace", "--examples", "--message-format=json"],
        cwd=ROOT,
        env={**os.environ, "LIBTORCH": str(Path(torch.origin).parent), "LIBTORCH_CXX11_ABI": "1"},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    for line in build.stdout.splitlines():
        message = json.loads(line)
        if message.get("executable") and message["target"]["name"] == name:
            return Path(message["executable"])
    raise RuntimeError(f"cargo built no example named {name}")
