"""Prepares trials: the module's program and its initial weights go to the driver."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

from lethe.errors import LetheError, ModelError
from lethe.flight import Peer
from lethe.model import weights
from lethe.model.generator import Generator
from lethe.model.program import Programs
from lethe.model.script import STEPS, script


class Preparer:
    """Generates modules for one experiment.

    inputs: the number of features. Keeps the seed of each trial, by which its module can be made again.
    """

    def __init__(
        self, peer: Peer, experiment: str, model: Callable[..., Any], loss: str | None, inputs: int
    ) -> None:
        self._peer, self._experiment, self._loss = peer, experiment, loss
        self.generator, self.inputs = Generator(model), inputs
        self._programs = Programs()
        self._first = True
        self.seeds: dict[int, int] = {}

    def prepare(self, trial: int, seed: int, hparams: dict[str, Any]) -> None:
        """Puts the trial's program and weights, or says why there are none.

        Raises ModelError if the experiment's first module cannot be used: no other would be.
        """
        first, self._first = self._first, False
        self.seeds[trial] = seed
        try:
            result = self._ready(trial, seed, hparams)
        except ModelError as error:
            if first:
                raise
            result = {"type": "failed", "error": str(error)}
        except LetheError:
            raise
        except Exception as error:
            result = {"type": "failed", "error": _traceback(error)}
        self._peer.call(
            "experiment.prepared", {"experiment": self._experiment, "trial": trial, "result": result}
        )

    def _ready(self, trial: int, seed: int, hparams: dict[str, Any]) -> dict[str, Any]:
        module = self.generator(hparams, self.inputs, seed)
        if self._loss is None and not hasattr(module, STEPS[0]):
            raise ModelError(
                f"the model {type(module).__name__} has no training_step(batch); define it, or name a loss: "
                'Supervised(…, loss="cross_entropy")'
            )
        module.train()
        scripted = script(module)
        # Drawn before the program is saved, which puts placeholders in their place.
        initial = {name: tensor.detach().clone() for name, tensor in weights.named(scripted).items()}
        digest, saved = self._programs.hash(scripted)
        if saved is not None:
            self._put_program(digest, saved)
        what = {"type": "initial", "experiment": self._experiment, "trial": trial}
        self._peer.put(what, weights.SCHEMA, weights.batches(initial))
        return {"type": "ready", "program": {"format": "torchscript", "hash": digest}}

    def _put_program(self, digest: str, saved: bytes) -> None:
        import pyarrow as pa

        schema = pa.schema([pa.field("data", pa.large_binary(), nullable=False)])
        chunks = (
            saved[start : start + weights.CHUNK_BYTES] for start in range(0, len(saved), weights.CHUNK_BYTES)
        )
        batches = (pa.record_batch([pa.array([chunk], pa.large_binary())], schema=schema) for chunk in chunks)
        self._peer.put({"type": "program", "hash": digest}, schema, batches)


def _traceback(error: Exception) -> str:
    """The exception first, then where it was raised, without Lethe's own frames."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "/lethe/" not in frame.filename] or list(frames)
    first = traceback.format_exception_only(type(error), error)[-1].strip()
    return f"the model generator raised {first}\n" + "".join(traceback.format_list(own))[-100_000:]
