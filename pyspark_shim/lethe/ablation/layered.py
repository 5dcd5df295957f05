"""Model generators that leave out layers, of PyTorch or Keras."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any


def layered(generator: Callable[..., Any], names: Sequence[str]) -> Callable[..., Any]:
    """A model generator that leaves these layers out of what `generator` makes.

    It asks for the same arguments (`inspect.signature`), can be pickled by cloudpickle if `generator` can,
    and draws the weights of all layers first: those that stay have the values of the whole model.

    names: see `lethe.ablation.layers.without_layers`, and `keras_layers.without_layers`.
    """
    left_out = tuple(names)

    @functools.wraps(generator)
    def without(*args: Any, **kwargs: Any) -> Any:
        return without_layers(generator(*args, **kwargs), left_out)

    return without


def without_layers(model: Any, names: Sequence[str]) -> Any:
    """The model without these layers: an `nn.Module`, changed in place, or a new Keras model.

    Raises ModelError if there is no such layer, or it cannot be left out.
    """
    # First: with Keras's torch backend its models are nn.Modules too.
    if is_keras(model):
        from lethe.ablation import keras_layers

        return keras_layers.without_layers(model, names)
    from lethe.ablation import layers

    return layers.without_layers(model, names)


def is_keras(model: Any) -> bool:
    """Whether it is a Keras model; imports nothing."""
    return any(
        kind.__name__ == "Model" and kind.__module__.partition(".")[0] == "keras"
        for kind in type(model).__mro__
    )
