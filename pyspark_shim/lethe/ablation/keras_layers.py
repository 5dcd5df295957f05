"""Leaves layers out of a Keras model, by name. Imported only where a generator has made one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from lethe.ablation.near import hint
from lethe.errors import ModelError

_REMEDY = "leave it out together with what depends on it (layer_groups), or give a changed model (models)"


def without_layers(model: Any, names: Sequence[str]) -> Any:
    """A new model of the same layers, with their weights, without these; compiled as before.

    model: a `keras.Sequential`, whose layers it is made of anew, or a functional model, where these layers
        are bypassed: what such a layer gives must have the shape of what it gets, one tensor. In a Sequential
        without an `Input` the layers after it take what comes.
    names: of layers of the model, not of models within it. Name them (`Dense(64, name="hidden")`): the names
        that Keras makes up count on from model to model. One that ends with a dot, "encoder.", means all
        layers whose names begin with "encoder_" or "encoder.".

    Raises ModelError if there is no such layer, or it cannot be left out.
    """
    gone = _expanded(model, names)
    who = f"layer {', '.join(gone)}"
    try:
        if any(kind.__name__ == "Functional" for kind in type(model).__mro__):
            return _functional(model, gone)
        if isinstance(model, keras.Sequential):
            return _sequential(model, gone)
    except (ValueError, TypeError) as error:
        raise ModelError(f"{who} cannot be left out: {_first(error)}; {_REMEDY}") from None
    raise ModelError(
        f"{who} cannot be left out of {type(model).__name__}, which is neither a Sequential nor a functional "
        "model; give a changed model (models)"
    )


def _expanded(model: Any, names: Sequence[str]) -> list[str]:
    there = [layer.name for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    found: list[str] = []
    for name in names:
        several = _below(name, there) if name.endswith(".") else []
        if not several and name not in there:
            raise ModelError(
                f"layer {name}: the model {model.name} has none of this name; {hint(name, there)}"
            )
        found.extend(several or [name])
    return list(dict.fromkeys(found))


def _below(prefix: str, there: Sequence[str]) -> list[str]:
    # With Keras's torch backend a layer's name has no dots.
    return [name for name in there if name.startswith((prefix, f"{prefix[:-1]}_"))]


def _sequential(model: Any, gone: Sequence[str]) -> Any:
    left = [layer for layer in model.layers if layer.name not in gone]
    if not left:
        raise ValueError("no layer is left")
    first = [keras.Input(batch_shape=model.input_shape, dtype=model.inputs[0].dtype)] if model.built else []
    found = keras.Sequential([*first, *left], name=model.name)
    if model.built and found.output_shape != model.output_shape:
        raise ValueError(f"the model would give {found.output_shape}, and gives {model.output_shape} with it")
    if model.compiled:
        found.compile_from_config(model.get_compile_config())
    return found


def _functional(model: Any, gone: Sequence[str]) -> Any:
    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        if layer.name not in gone:
            return layer(*args, **kwargs)
        spec = layer.compute_output_spec(*args, **kwargs)
        gets = getattr(args[0], "shape", None)
        gives = getattr(spec, "shape", None)
        if gets is None or gets != gives:
            raise ValueError(f"it gets {_shown(args[0])} and gives {_shown(spec)}")
        return args[0]

    # The layers themselves, not copies: their weights have been drawn.
    return keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=call)


def _shown(found: Any) -> str:
    if isinstance(found, list | tuple):
        return f"{len(found)} tensors"
    return str(getattr(found, "shape", type(found).__name__))


def _first(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
