"""Maggy's Keras callbacks, `KerasBatchEnd` and `KerasEpochEnd`: Keras is imported at their first use."""

from __future__ import annotations

import importlib
from typing import Any

_NAMES = ("KerasBatchEnd", "KerasEpochEnd")


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module 'lethe.maggy.callbacks' has no attribute {name!r}")
    return getattr(importlib.import_module("lethe.callbacks.keras"), name)


def __dir__() -> list[str]:
    return list(_NAMES)
