"""Calls the user's model generator under a trial's seed; the user's own random state stays as it was."""

from __future__ import annotations

import contextlib
import functools
import inspect
import random
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from lethe.errors import ModelError
from lethe.model.inputs import Inputs

#: What a generator may ask for by name.
ARGUMENTS = ("hparams", "inputs")


class Generator:
    """A model generator whose arguments have been checked.

    Raises ModelError if it asks for something that there is not.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._name = getattr(function, "__qualname__", repr(function))
        self._asked: list[str] = []
        for name, parameter in _parameters(function).items():
            if parameter.kind is parameter.VAR_KEYWORD:
                self._asked = list(ARGUMENTS)
            elif name in ARGUMENTS and parameter.kind is not parameter.VAR_POSITIONAL:
                self._asked.append(name)
            elif parameter.default is parameter.empty and parameter.kind is not parameter.VAR_POSITIONAL:
                raise ModelError(
                    f"the model generator {self._name} asks for {name!r}; it can ask for "
                    f"{' and '.join(ARGUMENTS)}"
                )

    def make(self, hparams: dict[str, Any], inputs: Inputs, seed: int) -> Any:
        """Whatever the generator makes under the seed; its exceptions pass."""
        given = {"hparams": dict(hparams), "inputs": dict(inputs) if isinstance(inputs, dict) else inputs}
        with seeded(seed):
            return self._function(**{name: given[name] for name in self._asked})

    def __call__(self, hparams: dict[str, Any], inputs: Inputs, seed: int) -> nn.Module:
        """The module, on the CPU, with the initial weights of the seed. The generator's exceptions pass."""
        module = self.make(hparams, inputs, seed)
        if not isinstance(module, nn.Module):
            raise ModelError(
                f"the model generator {self._name} returned {type(module).__name__}; it must return an "
                "nn.Module"
            )
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
            if isinstance(tensor, nn.parameter.UninitializedTensorMixin):
                raise ModelError(
                    f"the parameter {name} of the model has no shape yet; use Linear(inputs, …) instead of "
                    "LazyLinear"
                )
        return module.cpu()


def _parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    try:
        return dict(inspect.signature(function).parameters)
    except ValueError:
        raise ModelError(
            f"the arguments of the model generator {function!r} are unknown; wrap it: lambda hparams: …"
        ) from None


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seeds torch, NumPy and `random` within, and restores their states after."""
    numpy = sys.modules.get("numpy")
    python_state = random.getstate()
    numpy_state = None if numpy is None else numpy.random.get_state()
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices):
        try:
            _seed_torch(seed)
            random.seed(seed)
            if numpy is not None:
                numpy.random.seed(seed % 2**32)
            yield
        finally:
            random.setstate(python_state)
            if numpy is not None:
                numpy.random.set_state(numpy_state)


def _seed_torch(seed: int) -> None:
    """`torch.manual_seed`, which formats a stack trace for each kind of device that has not been used yet, at
    every call: more time than a small module takes, where there is no device."""
    if _has_accelerator():
        torch.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)


@functools.cache
def _has_accelerator() -> bool:
    return bool(torch.accelerator.is_available())
