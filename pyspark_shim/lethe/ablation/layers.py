"""Leaves layers out of an `nn.Module`, by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from lethe.ablation.bypass import bypass
from lethe.ablation.near import hint
from lethe.errors import ModelError


def without_layers(module: Any, names: Sequence[str]) -> nn.Module:
    """The same module, changed in place, without these; a generator has made it anew.

    names: dotted names of modules, as `named_modules` has them: "encoder.2". One that ends with a dot,
        "encoder.", means all modules directly under it.

    - An element of an `nn.Sequential` is taken out. The others keep their names ("encoder.3" stays that, and
      its weights are "encoder.3.weight"), but count anew: where a `forward` indexes the Sequential,
      `self.encoder[2]` is then its third element that is left.
    - Any other module, an element of an `nn.ModuleList` too, is replaced by one that takes the same arguments
      and passes on the first. Where what a module gives is added to what it got (`x + block(x)`), that
      doubles `x`: name the module that has the sum, or give a changed model.
    - An `nn.ModuleList` or `nn.ModuleDict` itself is emptied.

    The weights of the modules that stay are untouched. A module that is under several names is left out under
    the given one only.

    Raises ModelError, with near names, if there is no such module.
    """
    check_module(module, names)
    found = expanded(module, names)
    for name in found:
        # What is under another one that goes, goes with it.
        if not any(name.startswith(f"{other}.") for other in found):
            _leave_out(module, name)
    return module


def check_module(module: Any, names: Sequence[str]) -> None:
    """Raises ModelError if it is no module whose layers can be left out."""
    what = "a scripted module" if isinstance(module, torch.jit.ScriptModule) else type(module).__name__
    if isinstance(module, torch.jit.ScriptModule) or not isinstance(module, nn.Module):
        raise ModelError(
            f"layer {names[0]} cannot be left out of {what}; let the generator return the nn.Module itself, "
            "or a Keras model"
        )


def expanded(module: nn.Module, names: Sequence[str]) -> list[str]:
    """Names of modules, for prefixes those of all modules directly under them.

    Raises ModelError, with near names, if there is no such module.
    """
    modules = dict(module.named_modules(remove_duplicate=False))
    there = [name for name in modules if name]
    found: list[str] = []
    for name in names:
        if name.endswith("."):
            parent = modules.get(name[:-1])
            below = [] if parent is None else [f"{name}{child}" for child, _ in parent.named_children()]
            if not below:
                prefixes = [one for one in there if any(True for _ in modules[one].children())]
                raise ModelError(
                    f"layers {name}: the model {type(module).__name__} has no modules under it; "
                    f"{hint(name[:-1], prefixes)}"
                )
            found.extend(below)
        elif name not in there:
            raise ModelError(
                f"layer {name}: the model {type(module).__name__} has no such module; {hint(name, there)}"
            )
        else:
            found.append(name)
    return list(dict.fromkeys(found))


def _leave_out(module: nn.Module, name: str) -> None:
    path, _, last = name.rpartition(".")
    parent: Any = module.get_submodule(path)
    # Its own forward may do something else with its elements than call one after the other.
    plain = isinstance(parent, nn.Sequential) and type(parent).forward is nn.Sequential.forward
    if plain:
        del parent._modules[last]
    else:
        parent._modules[last] = bypass(parent._modules[last])
