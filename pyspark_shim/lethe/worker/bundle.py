"""The user's functions, as Spark ships them to its task and the task hands them to its worker."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Bundle:
    """function: the training function. arguments: those that it asks for. model: the generator, if there is
    one. generates: `model` is given as the generator itself, not as what it makes. models: of single trials,
    by number. sharding, precision, strategy: see `Function`. environment: further variables."""

    function: Callable[..., Any]
    arguments: tuple[str, ...]
    model: Callable[..., Any] | None = None
    generates: bool = False
    models: Mapping[int, Callable[..., Any]] = field(default_factory=dict)
    sharding: str | None = None
    precision: str = "float32"
    environment: Mapping[str, str] = field(default_factory=dict)
    strategy: str | None = None

    def pickled(self) -> bytes:
        """By value, as Spark does it, where a function is not a module's."""
        return pickle.dumps((dict(self.environment), _pickler().dumps(self)))

    @classmethod
    def read(cls, file: Path) -> Bundle:
        """That of a file which this worker's own task has written."""
        environment, functions = pickle.loads(file.read_bytes())
        # Before they are imported: Keras looks for its backend there, say.
        os.environ.update(environment)
        found = pickle.loads(functions)
        if not isinstance(found, Bundle):
            raise TypeError(f"{file} holds {type(found).__name__}, not the functions of an experiment")
        return found


def _pickler() -> Any:
    """Spark's own copy of cloudpickle, else the package."""
    try:
        from pyspark import cloudpickle
    except ImportError:
        import cloudpickle  # type: ignore[import-untyped]
    return cloudpickle
