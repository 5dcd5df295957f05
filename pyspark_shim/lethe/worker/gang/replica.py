"""A model of which each rank has all."""

from __future__ import annotations

from typing import Any

import torch

from lethe.errors import LetheError
from lethe.worker.gang.reducer import Reducer
from lethe.worker.gang.shares import Shares


def replicate(module: torch.nn.Module, shares: Shares) -> None:
    """Its backward passes leave the gradients of the whole batch, on all ranks."""
    if is_keras(module):
        parameters, buffers = _of_keras(module)
        _watch_keras(module, shares)
    else:
        parameters, buffers = list(module.parameters()), list(module.buffers())
        module.register_forward_pre_hook(_Called(shares), with_kwargs=True)
    if any(isinstance(tensor, torch.nn.parameter.UninitializedTensorMixin) for tensor in parameters):
        raise LetheError(
            "the model has lazy layers, whose weights are not there: call it once with a row of its inputs "
            "in its generator, so that several workers can train it together"
        )
    Reducer(parameters, buffers, shares).begin()


class _Called:
    """The batch that a module is called with is that which the next pass is of."""

    def __init__(self, shares: Shares) -> None:
        self._shares = shares

    def __call__(self, module: Any, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        if torch.is_grad_enabled():
            self._shares.of(inputs, named)

    def __deepcopy__(self, memo: dict[int, Any]) -> _Called:
        return self


def is_keras(module: torch.nn.Module) -> bool:
    """Whether it is a model or a layer of Keras."""
    return any(one.__module__.partition(".")[0] == "keras" for one in type(module).__mro__)


def _watch_keras(model: Any, shares: Shares) -> None:
    """As `_Called`: Keras calls no hooks of PyTorch's, and draws a batch ahead."""
    own = type(model)

    def call(self: Any, *inputs: Any, **named: Any) -> Any:
        if torch.is_grad_enabled():
            shares.of(inputs, named)
        return own.__call__(self, *inputs, **named)

    model.__class__ = type(own.__name__, (own,), {"__call__": call, "__module__": own.__module__})


def _of_keras(model: Any) -> tuple[list[Any], list[Any]]:
    if not model.built:
        raise LetheError(
            f"the Keras model {model.name} has no weights before it is built: begin it with keras.Input, or "
            "call model.build in its generator, so that several workers can train it together"
        )
    trained = [variable.value for variable in model.trainable_variables]
    known = {id(value) for value in trained}
    others = [variable.value for variable in model.variables if id(variable.value) not in known]
    return trained, others
