"""The model of a trial: made by the user's generator under the trial's seed, and what is kept of it."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any

from lethe.experiment.blame import raised
from lethe.model.inputs import Inputs
from lethe.worker import precision, seeding
from lethe.worker.gang.face import Workers
from lethe.worker.tree import Arrays, TreeError, array_of

#: What a generator may ask for by name.
ARGUMENTS = ("hparams", "inputs")


class Models:
    """Makes modules, and remembers the last: its weights are the trial's."""

    def __init__(
        self,
        generator: Callable[..., Any],
        hparams: dict[str, Any],
        inputs: Inputs | None,
        seed: int,
        workers: Workers,
        precision: str,
    ) -> None:
        self._generator, self._hparams, self._inputs, self._seed = generator, hparams, inputs, seed
        self._workers, self._precision = workers, precision
        self._last: Any = None
        self._snapshot: Arrays | None = None
        #: That weights cannot be kept.
        self._said = False

    def make(self) -> Any:
        """What the generator makes, on this worker's device, and trained with the trial's other workers. The
        same each time: under the trial's seed, with all random states as they were after it."""
        given = {"hparams": dict(self._hparams), "inputs": self._inputs}
        asked = _asked(self._generator)
        with seeding.late_imports(), _seeded(self._seed):
            self._last = self._generator(**{name: given[name] for name in asked})
        torch = sys.modules.get("torch")
        if torch is not None and isinstance(self._last, torch.nn.Module) and torch.cuda.is_available():
            self._last = self._last.to("cuda")
        if self._precision != "float32":
            precision.compute_in(self._last, self._precision)
        return self._workers.parallel(self._last)

    def snapshot(self) -> None:
        """Keeps a copy of the weights as they are."""
        if self._workers.rank == 0 or self._workers.sharded:
            self._snapshot = self._kept_now()

    def restore(self, weights: Arrays) -> None:
        """A snapshot that was taken before the trial was paused."""
        if weights:
            self._snapshot = weights

    def kept(self) -> Arrays:
        """Those of the snapshot, if there is one, else as they are; none of what is no torch module, and none
        where they cannot be kept, which is said once."""
        return self._kept_now() if self._snapshot is None else self._snapshot

    def _kept_now(self) -> Arrays:
        try:
            return self._weights()
        except Exception as error:
            # Of a model in parts all workers fail alike or none may go on: it is made whole by all at once.
            if self._workers.sharded and not isinstance(error, TreeError):
                raise
            # The trial's values are worth more than its weights.
            if not self._said:
                print(raised("keeping the model's weights", error), file=sys.stderr)
            self._said = True
            return {}

    def _weights(self) -> Arrays:
        torch = sys.modules.get("torch")
        module = self._last
        if torch is None or not isinstance(module, torch.nn.Module):
            return {}
        if type(module).__name__ == "DistributedDataParallel":
            # It wraps the user's module.
            module = module.module
        from lethe.model.weights import named

        return {name: array_of(tensor, f"the weight {name}") for name, tensor in named(module).items()}

    def at_hand(self) -> Arrays:
        """The snapshot, and without one the weights as they are where this worker has them."""
        return self._snapshot or {} if self._workers.sharded else self.kept()


def _asked(generator: Callable[..., Any]) -> list[str]:
    parameters = inspect.signature(generator).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return list(ARGUMENTS)
    return [parameter.name for parameter in parameters if parameter.name in ARGUMENTS]


def _seeded(seed: int) -> Any:
    """Random states are the seed's within, and what they were after. Without torch no module is made by
    it."""
    if "torch" in sys.modules:
        from lethe.model.generator import seeded

        return seeded(seed)
    return seeding.plainly_seeded(seed)
