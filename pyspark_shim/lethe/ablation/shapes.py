"""Which modules a run calls, and the shapes that they get and give."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

#: Lengths of one row; of several tensors a tuple of them.
Shape = Any
FEATURES = " features"


@dataclass(frozen=True)
class Call:
    """The first call of a module. Shapes are those of one row, without the batch; given: None if it did not
    return."""

    name: str
    kind: str
    got: Shape
    given: Shape


@dataclass(frozen=True)
class Trace:
    """A run of a module. calls: by the modules' names, in the order in which they began. inner: the innermost
    module that had begun and not returned when it failed; error: why; None if it came to `given`."""

    calls: dict[str, Call]
    given: Shape
    inner: str
    error: Exception | None


def trace(module: nn.Module, run: Callable[[nn.Module], Any]) -> Trace:
    """Runs a module; what it raises is in the trace."""
    begun: dict[str, Shape] = {}
    ended: dict[str, Shape] = {}
    kinds: dict[str, str] = {}
    inside: list[str] = []
    handles = []

    def before(name: str, given: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        first = given[0] if given else next(iter(keywords.values()), None)
        begun.setdefault(name, shape(first))
        inside.append(name)

    def after(name: str, found: Any) -> None:
        ended.setdefault(name, shape(found))
        inside.pop()

    def watch(name: str, one: nn.Module) -> None:
        kinds[name] = type(one).__name__
        hook = one.register_forward_pre_hook(
            lambda _, given, keywords: before(name, given, keywords), with_kwargs=True
        )
        handles.append(hook)
        handles.append(one.register_forward_hook(lambda _, given, found: after(name, found)))

    for name, one in module.named_modules():
        watch(name, one)
    found, error = None, None
    try:
        found = run(module)
    except Exception as raised:
        error = raised
    finally:
        for handle in handles:
            handle.remove()
    calls = {name: Call(name, kinds[name], begun[name], ended.get(name)) for name in begun}
    # Where the user's code has caught something, more have begun than are named here; the last one failed.
    return Trace(calls, shape(found), inside[-1] if inside else "", error)


def shape(found: Any) -> Shape:
    """Of a tensor the lengths of one row; of several these, as they are nested; None of anything else."""
    if isinstance(found, torch.Tensor):
        return tuple(found.shape[1:])
    if isinstance(found, list | tuple):
        return [shape(one) for one in found]
    if isinstance(found, dict):
        return {name: shape(one) for name, one in found.items()}
    return None


def shown(found: Shape, unit: str = FEATURES) -> str:
    """In words: "64 features"."""
    if isinstance(found, tuple):
        if len(found) == 1:
            return f"{found[0]}{unit}"
        return f"rows of shape {found}" if found else "one number a row"
    if isinstance(found, list):
        return f"a tuple of {len(found)}"
    return "a dictionary" if isinstance(found, dict) else "no tensor"
