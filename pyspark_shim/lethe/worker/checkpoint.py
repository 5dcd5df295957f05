"""What a function saves of itself, and goes on from."""

from __future__ import annotations

import random
import sys
import time
from typing import Any

from lethe.worker import arrays, seeding, tree
from lethe.worker.gang.alone import Alone
from lethe.worker.gang.face import Workers
from lethe.worker.tree import Arrays

#: The form that is written, as the native loop's.
FORMAT = 1
META, STATE, RANDOM, MODEL = "meta", "state/", "random/", "model/"


class Checkpoint:
    """Of one trial. A function that takes it can be paused and go on on another slot, and goes on from here
    when its slot was lost."""

    def __init__(self, path: str | None, every: float | None, workers: Workers | None = None) -> None:
        self._path, self._every, self._workers = path, every, workers or Alone()
        self._saved: tuple[Any, Arrays] | None = None
        self._since = time.monotonic()
        self._read: tuple[dict[str, Any], Arrays] | None = None

    def save(self, state: Any) -> None:
        """Keeps a copy of all that the function needs to go on after the next `reporter.broadcast`: dicts and
        lists of tensors, NumPy arrays, numbers and strings, `state_dict()`s above all. Call it before
        `broadcast`, after each epoch. Random states are saved with it. Nothing is written until it is needed.

        Of several workers all call it, and what the first one has is saved.

        Raises TypeError, which names what cannot be saved.
        """
        first = self._workers.rank == 0
        if first or self._workers.sharded:
            encoded = tree.encode(state, STATE)
            self._saved = _with_random(*encoded) if first else None

    def load(self) -> Any:
        """What was saved last, where the trial goes on from it; else None. `random`, NumPy and PyTorch go on
        with the random numbers that they had then: all of several workers load what the first has saved, and
        the others draw other random numbers than it."""
        found = self._file()
        if found is None:
            return None
        meta, held = found
        if self._workers.rank == 0 or self._workers.alike:
            _restore_random(tree.decode(meta["random"], held))
        else:
            seeding.go_on(meta["epoch"])
        return tree.decode(meta["state"], held)

    # What follows is the worker's.

    def meta(self) -> dict[str, Any] | None:
        """Where the trial stood; None where it begins anew."""
        found = self._file()
        return None if found is None else found[0]

    def model(self) -> Arrays:
        """The module's weights that were kept, by name."""
        found = self._file()
        held = {} if found is None else found[1]
        return {name.removeprefix(MODEL): value for name, value in held.items() if name.startswith(MODEL)}

    def is_due(self) -> bool:
        """Whether there is something to save, and it is time."""
        return (
            self._saved is not None
            and self._every is not None
            and time.monotonic() - self._since >= self._every
        )

    def write(self, path: str, meta: dict[str, Any], model: Arrays) -> bool:
        """Writes what was saved last; False if nothing was. model: the weights of the module, by name."""
        if self._saved is None:
            return False
        kept, held = self._saved
        text = tree.json_bytes({"format": FORMAT, **meta, **kept})
        named = {f"{MODEL}{name}": value for name, value in model.items()}
        arrays.write(path, {META: ("uint8", [len(text)], text), **held, **named})
        self._since = time.monotonic()
        return True

    def _file(self) -> tuple[dict[str, Any], Arrays] | None:
        if self._read is None and self._path is not None:
            held = arrays.read(self._path)
            meta = tree.parse(held.pop(META)[2])
            if "state" not in meta:
                raise ValueError("the checkpoint was saved by another kind of training function")
            self._read = meta, held
        return self._read


def _with_random(state: Any, held: Arrays) -> tuple[dict[str, Any], Arrays]:
    found: dict[str, Any] = {"python": random.getstate()}
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    if numpy is not None:
        found["numpy"] = numpy.random.get_state()
    if torch is not None:
        found["torch"] = torch.get_rng_state()
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            found["cuda"] = torch.cuda.get_rng_state()
    states, more = tree.encode(found, RANDOM)
    return {"state": state, "random": states}, {**held, **more}


def _restore_random(found: dict[str, Any]) -> None:
    random.setstate(found["python"])
    if "numpy" in found:
        import numpy

        numpy.random.set_state(found["numpy"])
    if "torch" in found:
        import torch

        torch.set_rng_state(found["torch"])
        if "cuda" in found and torch.cuda.is_available():
            torch.cuda.set_rng_state(found["cuda"])
