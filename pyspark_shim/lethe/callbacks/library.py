"""The libraries that report, none of which Lethe depends on."""

from __future__ import annotations

import importlib
from typing import Any

from lethe.errors import InstallError


def library(module: str, package: str) -> Any:
    """The module.

    package: what has it in PyPI.

    Raises InstallError where it is not installed. What the library itself misses, as Keras its backend, is
    the library's own error.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        raise InstallError(
            f"lethe.callbacks: {module} is not installed here; run: pip install {package}"
        ) from None
