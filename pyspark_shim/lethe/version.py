"""Versions that must agree, and where the packages that they name lie. Imports neither torch nor pyspark."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from pathlib import Path

from lethe.errors import InstallError

#: Of the messages; the Rust crates state the same number.
PROTOCOL = 6
#: The torch that the trainer is built for.
TORCH = "2.13.0"
#: Where an environment that `lethe.pack` packed has libtorch, without torch in Python.
PACKED = Path(__file__).parent / "libtorch"


def installed(package: str) -> str | None:
    """The installed version of a package, without its local part (`2.13.0+cpu` is `2.13.0`)."""
    try:
        return importlib.metadata.version(package).split("+")[0]
    except importlib.metadata.PackageNotFoundError:
        return None


def libtorch() -> Path:
    """The folder of the libraries that a trainer loads.

    Raises InstallError as `require_torch` does.
    """
    return PACKED if PACKED.is_dir() else require_torch()


def require_torch() -> Path:
    """The folder of libtorch's libraries in the installed torch, which is not imported.

    Raises InstallError if torch is absent or of another version than the trainer's.
    """
    found = installed("torch")
    spec = importlib.util.find_spec("torch")
    if found is None or spec is None or spec.origin is None:
        raise InstallError(
            f"lethe needs torch {TORCH}, and {sys.executable} has none; run: pip install 'lethe[torch]'"
        )
    if found != TORCH:
        raise InstallError(
            f"lethe needs torch {TORCH}, and {sys.executable} has torch {found}; run: pip install "
            f"torch=={TORCH}"
        )
    return Path(spec.origin).parent / "lib"


def require_lethe(wanted: str) -> None:
    """Raises InstallError if this interpreter's lethe is not of the version `wanted`."""
    found = installed("lethe")
    if found != wanted:
        raise InstallError(
            f"the Spark executors' interpreter {sys.executable} has lethe {found}, the driver has lethe "
            f"{wanted}; "
            f"install lethe {wanted} there, or set PYSPARK_PYTHON to an interpreter that has it"
        )
