"""Builds the three binaries with cargo and puts them into the wheel as ``lethe/bin/…``."""

import importlib.metadata
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

TORCH = "2.13.0"
BINARIES = ("lethe-driver", "lethe-executor", "lethe-trainer")


class CargoBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            raise SystemExit("lethe: an editable install has no binaries; install the wheel: make setup")
        workspace = Path(self.root).parent
        built = build(workspace)
        build_data["pure_python"] = False
        build_data["tag"] = "py3-none-linux_x86_64"
        for name in BINARIES:
            build_data["force_include"][built[name]] = f"lethe/bin/{name}"


def build(workspace: Path) -> dict[str, str]:
    """Runs cargo over the whole workspace: the same selection as the tests, so that nothing compiles
    twice."""
    cargo = shutil.which("cargo")
    if cargo is None:
        raise SystemExit("lethe: cargo was not found; install Rust (https://rustup.rs) and build again")
    environment = {**os.environ, "LIBTORCH": str(libtorch()), "LIBTORCH_CXX11_ABI": "1"}
    # PROFILE of the Makefile.
    profile = os.environ.get("LETHE_PROFILE", "release")
    command = [cargo, "build", "--profile", profile, "--workspace"]
    command.append("--message-format=json-render-diagnostics")
    done = subprocess.run(command, cwd=workspace, env=environment, stdout=subprocess.PIPE, check=False)
    if done.returncode != 0:
        raise SystemExit(
            f"lethe: {' '.join(command)} failed with status {done.returncode}; see its messages above"
        )
    built: dict[str, str] = {}
    for line in done.stdout.splitlines():
        message = json.loads(line)
        if message.get("reason") == "compiler-artifact" and message.get("executable"):
            built[message["target"]["name"]] = message["executable"]
    missing = [name for name in BINARIES if name not in built]
    if missing:
        raise SystemExit(f"lethe: cargo built no {', '.join(missing)}; is {workspace} a complete checkout?")
    return built


def libtorch() -> Path:
    """The folder of the installed torch, found without importing it (that takes seconds)."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        raise SystemExit(
            f"lethe: {sys.executable} has no torch, which the trainer is linked against; "
            f"pip install torch=={TORCH}, then build with --no-build-isolation"
        )
    found = importlib.metadata.version("torch").split("+")[0]
    if found != TORCH:
        raise SystemExit(
            f"lethe: the trainer needs torch {TORCH}, {sys.executable} has {found}; pip install "
            f"torch=={TORCH}"
        )
    return Path(spec.origin).parent
