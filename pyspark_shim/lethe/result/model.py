"""The best trial's module: made again by the generator under the trial's seed, with the trained weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lethe import flight
from lethe.errors import ExperimentError
from lethe.flight import Peer

if TYPE_CHECKING:
    import pyarrow as pa
    from torch import nn

    from lethe.model.generator import Generator
    from lethe.model.inputs import Inputs


class TrainedModel:
    """Makes the module with trained weights; called, it gives a new one.

    inputs, seed: what its generator is told, and under which seed it is called.
    """

    def __init__(
        self, generator: Generator, hparams: dict[str, Any], inputs: Inputs, seed: int, weights: pa.Table
    ) -> None:
        self._generator, self._hparams, self._weights = generator, hparams, weights
        self.inputs, self.seed = inputs, seed

    def __call__(self) -> nn.Module:
        from lethe.model import weights

        module = self._generator(self._hparams, self.inputs, self.seed)
        weights.load(module, weights.read(self._weights))
        return module.eval()

    def save(self, path: Path) -> str:
        """Saves it as TorchScript, complete or not at all; returns the path."""
        from lethe.model.script import save, script

        unfinished = path.with_suffix(".unfinished")
        save(script(self()), str(unfinished))
        return str(unfinished.replace(path))


def fetch_weights(peer: Peer, experiment: str, trial: int) -> pa.Table:
    """The kept weights of a trial.

    Raises ExperimentError if the driver cannot give them.
    """
    try:
        return peer.get({"type": "weights", "experiment": experiment, "trial": trial})
    except flight.FAILED as error:
        raise ExperimentError(
            f"the weights of trial {trial} could not be read: {flight.reason(error)}"
        ) from None
