"""What TorchScript's program of a module depends on, read off the module without compiling it.

Scripting costs 20 ms and more a trial, in the user's process, and most trials of a search differ in what the
module never sees (learning rate, batch size). Modules of equal structure have equal programs: TorchScript
gives them one type (`torch.jit._recursive`, `ConcreteTypeStore`), whose methods it compiles once. A structure
is finer than that type: the very classes and functions, in place of their code; the values of attributes,
beside their types; shapes, which programs carry in their placeholders. Where something is found whose part in
the program is not known there is no structure, and the module is scripted.
"""

from __future__ import annotations

import enum
import weakref
from collections.abc import Hashable
from types import BuiltinFunctionType, FunctionType
from typing import Any

import torch
from torch import nn

#: Kept apart from the other attributes: looked at one by one.
_PARTS = ("_parameters", "_buffers", "_modules")
#: A class with one of these can show TorchScript another module than the one that is read here.
_REWRITES = ("__prepare_scriptable__", "__getattr__", "__getattribute__", "__dir__", "__slots__")


class _Unknown(Exception):
    """Something whose part in the program is not known."""


class _Same:
    """Equal to itself only; keeps the object, so that no other gets its address."""

    __slots__ = ("_object",)

    def __init__(self, it: object) -> None:
        self._object = it

    def __hash__(self) -> int:
        return id(self._object)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other._object is self._object


def structure(module: nn.Module) -> Hashable | None:
    """Modules of one process that have equal structures have equal programs. None: it is not known."""
    try:
        return _Reader().module(module)
    except (_Unknown, RecursionError):
        return None


class _Reader:
    """Reads one module; numbers its tensors and parts, so that what is tied shows."""

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}
        self._classes: dict[type, Hashable] = {}

    def module(self, module: nn.Module) -> Hashable:
        if isinstance(module, torch.jit.ScriptModule):
            raise _Unknown
        seen = id(module) in self._numbers
        number = self._number(module)
        if seen:
            return number
        own = vars(module)
        parameters, buffers, modules = (own[part].items() for part in _PARTS)
        tensors = tuple((name, self._tensor(tensor)) for name, tensor in (*parameters, *buffers))
        plain = tuple((name, self._value(value)) for name, value in own.items() if name not in _PARTS)
        # A constant may be a property, whose value comes from anywhere.
        named = getattr(module, "__constants__", ())
        constants = tuple(
            (name, self._value(getattr(module, name, None))) for name in named if name not in own
        )
        parts = tuple((name, None if part is None else self.module(part)) for name, part in modules)
        return number, self._class(type(module)), plain, constants, len(parameters), tensors, parts

    def _value(self, value: Any) -> Hashable:
        """An attribute's. Recurrent modules list their parameters, and weak references to them."""
        if isinstance(value, list) and value:
            if all(isinstance(item, torch.Tensor) and id(item) in self._numbers for item in value):
                return list, tuple(self._numbers[id(item)] for item in value)
            if all(isinstance(item, weakref.ref) for item in value):
                # TorchScript has nothing like them.
                return weakref.ref
        return _value(value)

    def _number(self, it: object) -> int:
        return self._numbers.setdefault(id(it), len(self._numbers))

    def _tensor(self, tensor: torch.Tensor | None) -> Hashable:
        if tensor is None:
            return None
        if type(tensor) not in (torch.Tensor, nn.Parameter, nn.Buffer) or tensor.layout != torch.strided:
            raise _Unknown
        return self._number(tensor), type(tensor), tensor.shape, tensor.dtype, tensor.requires_grad

    def _class(self, kind: type) -> Hashable:
        found = self._classes.get(kind)
        if found is None:
            below = kind.__mro__[: kind.__mro__.index(nn.Module)]
            found = self._classes[kind] = (_Same(kind), *(_members(base) for base in below))
        return found


def _members(kind: type) -> Hashable:
    """A class's methods and constants: a generator may change them between trials."""
    if not kind.__module__.startswith("torch.nn.") and any(name in vars(kind) for name in _REWRITES):
        raise _Unknown
    return tuple((name, _member(value)) for name, value in vars(kind).items())


def _member(value: object) -> Hashable:
    try:
        return _value(value)
    except _Unknown:
        # TorchScript reads constants and methods of a class, nothing else.
        return _Same(value)


def _value(value: Any) -> Hashable:
    """By value with its type, as 1, 1.0 and True are equal; by `repr`, as 0.0 and -0.0 are."""
    kind = type(value)
    if kind in (bool, int, str, bytes, type(None), torch.dtype, torch.device, torch.layout):
        return kind, value
    if kind in (float, complex):
        return kind, repr(value)
    if kind in (tuple, list, torch.Size):
        return kind, tuple(_value(item) for item in value)
    if issubclass(kind, dict) and kind.__module__ in ("builtins", "collections"):
        return kind, tuple((_value(key), _value(item)) for key, item in value.items())
    if kind in (set, frozenset):
        return kind, frozenset(_value(item) for item in value)
    if kind in (FunctionType, BuiltinFunctionType) or isinstance(value, type | enum.Enum):
        return _Same(value)
    raise _Unknown
