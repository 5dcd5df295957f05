"""Prepares trials: the module's program and its initial weights go to the driver."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from lethe.errors import LetheError, ModelError
from lethe.experiment.blame import raised
from lethe.flight import Peer
from lethe.model import weights
from lethe.model.generator import Generator
from lethe.model.inputs import Inputs
from lethe.model.program import Programs
from lethe.model.schema import CHUNK_BYTES, SCHEMA
from lethe.model.script import STEPS, script
from lethe.model.structure import structure

if TYPE_CHECKING:
    import torch
    from torch import nn


class Preparer:
    """Generates modules for one experiment.

    inputs: see `lethe.model.inputs`. models, own_inputs: of single trials, by number, which have others.
    resumed: an earlier run has shown that the generator's modules can be
    used.
    """

    def __init__(
        self,
        peer: Peer,
        experiment: str,
        model: Callable[..., Any],
        loss: str | None,
        inputs: Inputs,
        *,
        models: Mapping[int, Callable[..., Any]] | None = None,
        own_inputs: Mapping[int, Inputs] | None = None,
        resumed: bool = False,
    ) -> None:
        self._peer, self._experiment, self._loss = peer, experiment, loss
        self._generator, self._inputs = Generator(model), inputs
        self._own = {trial: Generator(own) for trial, own in (models or {}).items()}
        self._own_inputs = own_inputs or {}
        self._programs = Programs()
        self._first = not resumed

    def generator(self, trial: int) -> Generator:
        """Of this trial."""
        return self._own.get(trial, self._generator)

    def inputs(self, trial: int) -> Inputs:
        """That it is told."""
        return self._own_inputs.get(trial, self._inputs)

    def prepare(self, trial: int, seed: int, hparams: dict[str, Any]) -> None:
        """Puts the trial's program and weights, or says why there are none. It is asked for again after a
        resume, or where the trial's hyperparameters were changed while it was paused.

        Raises ModelError if the experiment's first module cannot be used: no other would be.
        """
        first, self._first = self._first, False
        try:
            result = self._ready(trial, seed, hparams)
        except ModelError as error:
            if first:
                raise
            result = {"type": "failed", "error": str(error)}
        except LetheError:
            raise
        except Exception as error:
            result = {"type": "failed", "error": raised("the model generator", error)}
        self._peer.call(
            "experiment.prepared", {"experiment": self._experiment, "trial": trial, "result": result}
        )

    def _ready(self, trial: int, seed: int, hparams: dict[str, Any]) -> dict[str, Any]:
        module = self.generator(trial)(hparams, self.inputs(trial), seed)
        if self._loss is None and not hasattr(module, STEPS[0]):
            raise ModelError(
                f"the model {type(module).__name__} has no training_step(batch); define it, or name a loss: "
                'Supervised(…, loss="cross_entropy")'
            )
        module.train()
        digest, initial = self._program(module)
        what = {"type": "initial", "experiment": self._experiment, "trial": trial}
        self._peer.put(what, SCHEMA, weights.batches(initial))
        return {"type": "ready", "program": {"format": "torchscript", "hash": digest}}

    def _program(self, module: nn.Module) -> tuple[str, dict[str, torch.Tensor]]:
        """The hash of the module's program, which the driver then has, and the initial weights."""
        form = structure(module)
        known = self._programs.known(form)
        own = weights.named(module)
        if known is not None:
            return known, own
        scripted = script(module)
        # Copied before the program is saved, which puts placeholders in their place.
        initial = {name: tensor.detach().clone() for name, tensor in weights.named(scripted).items()}
        alike = own.keys() == initial.keys()
        digest, saved = self._programs.hash(scripted)
        if saved is not None:
            self._put_program(digest, saved)
        # Where scripting leaves out weights, as ignored attributes, the next module's are not its own either.
        if alike:
            self._programs.remember(form, digest)
        return digest, initial

    def _put_program(self, digest: str, saved: bytes) -> None:
        import pyarrow as pa

        schema = pa.schema([pa.field("data", pa.large_binary(), nullable=False)])
        chunks = (saved[start : start + CHUNK_BYTES] for start in range(0, len(saved), CHUNK_BYTES))
        batches = (pa.record_batch([pa.array([chunk], pa.large_binary())], schema=schema) for chunk in chunks)
        self._peer.put({"type": "program", "hash": digest}, schema, batches)
