"""Whether layers can be left out, before the first trial runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from lethe.ablation.component import Component
from lethe.ablation.layered import is_keras, layered
from lethe.ablation.layers import check_module, expanded
from lethe.ablation.shapes import FEATURES, Call, Trace, shown, trace
from lethe.errors import ModelError
from lethe.model.generator import Generator, seeded
from lethe.model.inputs import inputs_of
from lethe.model.script import script

#: Not 2: two rows can be unpacked like the pair that an LSTM gives.
ROWS = 5
_REMEDY = "leave it out together with what depends on it (layer_groups), or give a changed model (models)"

#: Runs a module on tensors `[rows, …]`, one for each input.
Run = Callable[[nn.Module, list[torch.Tensor]], Any]


def check_layers(
    model: Callable[..., Any],
    components: Iterable[Component],
    hparams: Mapping[str, Any],
    sections: Sequence[Mapping[str, Any]],
    *,
    seed: int = 0,
    run: Run | None = None,
    scripted: bool = False,
) -> None:
    """Runs the whole model, and the model without the layers of each component, on a batch of a few rows.

    model: the generator; a component's own `model` and `hparams` go before these.
    components: those without `layers` are passed over, but for the arguments of their own `model`. One that
        changes the data as well gets other inputs, which are not known here: that its layers exist is all
        that is looked at.
    sections: name, dtype and shape of one row of each input, as in the messages `Section`. Floats are drawn
        from 0 to 1, whole numbers and booleans are 0.
    run: how a module is run; None: `module(*tensors)`. A module without a `forward`, which has its own
        `training_step(batch)`, is run only by this; otherwise its names are looked at.
    scripted: whether the module must also be scriptable without the layers.

    Raises ModelError, which names the layer: there is none of this name; it is never called; without it the
    model fails, gives another shape or cannot be scripted. Where the whole model already fails on these
    rows nothing is compared: its first trial will tell why.
    """
    bases: dict[Any, _Base] = {}
    for component in components:
        generator = component.model or model
        if not component.layers:
            Generator(generator)
            continue
        values = {**hparams, **component.hparams}
        key = (id(generator), repr(sorted(component.hparams.items())))
        if key not in bases:
            module = _made(generator, values, sections, seed)
            if not is_keras(module):
                check_module(module, component.layers)
            bases[key] = _base(module, sections, run, scripted)
        base = bases[key]
        names = list(component.layers) if is_keras(base.module) else expanded(base.module, component.layers)
        changed = _made(layered(generator, names), values, sections, seed)
        if is_keras(changed) or component.changes_data:
            continue
        if base.trace is not None and base.trace.error is None:
            _check_called(names, base.module, base.trace)
            _compare(component, names, base.trace, _trace(changed, sections, run))
        if base.scriptable:
            _check_scripted(component, changed)


@dataclass(frozen=True)
class _Base:
    """The whole model, and how it ran. scriptable: it is, and it was asked for."""

    module: Any
    trace: Trace | None
    scriptable: bool


def _base(module: Any, sections: Sequence[Mapping[str, Any]], run: Run | None, scripted: bool) -> _Base:
    if is_keras(module):
        return _Base(module, None, False)
    found = _trace(module, sections, run)
    if scripted:
        try:
            script(module)
        except ModelError:
            scripted = False
    return _Base(module, found, scripted)


def _made(
    generator: Callable[..., Any],
    hparams: dict[str, Any],
    sections: Sequence[Mapping[str, Any]],
    seed: int,
) -> Any:
    """The module, to be trained; a Keras model is whatever its backend makes of it."""
    of, inputs = Generator(generator), inputs_of([dict(section) for section in sections])
    made = of.make(hparams, inputs, seed)
    return made if is_keras(made) else of(hparams, inputs, seed).train()


def _trace(module: nn.Module, sections: Sequence[Mapping[str, Any]], run: Run | None) -> Trace | None:
    """None: it cannot be run."""
    if run is None and type(module).forward is nn.Module.forward:
        return None
    with seeded(0):
        tensors = [_tensor(section) for section in sections]
        return trace(module, lambda one: one(*tensors) if run is None else run(one, tensors))


def _tensor(section: Mapping[str, Any]) -> torch.Tensor:
    dtype = getattr(torch, section["dtype"])
    shape = (ROWS, *section["shape"])
    return torch.rand(shape, dtype=dtype) if dtype.is_floating_point else torch.zeros(shape, dtype=dtype)


def _check_called(names: Sequence[str], module: nn.Module, base: Trace) -> None:
    for name in names:
        within = dict.fromkeys(id(one) for one in module.get_submodule(name).modules())
        called = (id(module.get_submodule(one)) for one in base.calls)
        if not any(one in within for one in called):
            raise ModelError(
                f"layer {name} is never called by the model, so nothing changes without it; take it from "
                "the study"
            )


def _compare(component: Component, names: Sequence[str], base: Trace, changed: Trace | None) -> None:
    if changed is None:
        return
    if changed.error is not None:
        why = _why(names, base, changed)
        raise ModelError(f"{component.name} cannot be left out: {why}; {_REMEDY}") from changed.error
    if changed.given != base.given:
        raise ModelError(
            f"{component.name} cannot be left out: the model would give {shown(changed.given, ' values')}, "
            f"and gives {shown(base.given, ' values')} with it; {_REMEDY}"
        )


def _why(names: Sequence[str], base: Trace, changed: Trace) -> str:
    """Which module takes something else than it would get, or what was raised."""
    whole, now = base.calls.get(changed.inner), changed.calls.get(changed.inner)
    if whole is not None and now is not None and whole.got != now.got:
        takes, gets = shown(whole.got), shown(now.got)
        if takes.endswith(FEATURES) and gets.endswith(FEATURES):
            gets = gets.removesuffix(FEATURES)
        return f"{_place(names, base, whole)} takes {takes} and would get {gets}"
    error = str(changed.error).strip().splitlines()
    first = f"{type(changed.error).__name__}: {error[0]}" if error else type(changed.error).__name__
    inner = f"the forward of {changed.inner or 'the model'}"
    return f"{_changes(names, base)}{inner} fails without it: {first}"


def _place(names: Sequence[str], base: Trace, of: Call) -> str:
    """The module, and whether it comes directly after what is left out."""
    # A Sequential begins before its first layer does.
    order = [name for name in base.calls if name and not of.name.startswith(f"{name}.")]
    left_out = [
        place for place, name in enumerate(order) if any(f"{name}.".startswith(f"{one}.") for one in names)
    ]
    if left_out and order.index(of.name) == left_out[-1] + 1:
        return f"the layer after it, {of.name} ({of.kind}),"
    return f"the layer {of.name} ({of.kind}), which comes later,"


def _changes(names: Sequence[str], base: Trace) -> str:
    for name in names:
        call = base.calls.get(name)
        if call is not None and call.got != call.given:
            return f"it makes {shown(call.given)} of {shown(call.got)}, and "
    return ""


def _check_scripted(component: Component, module: nn.Module) -> None:
    try:
        script(module)
    except ModelError as error:
        raise ModelError(f"{component.name} cannot be left out: {error}") from None
