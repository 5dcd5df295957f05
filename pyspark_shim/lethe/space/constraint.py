"""Constraints: which combinations of hyperparameters are allowed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from lethe.errors import ConfigError


@dataclass(frozen=True)
class Constraint:
    """Made by `constraint`: either SQL text or a predicate."""

    text: str | None = None
    predicate: Callable[[dict[str, Any]], Any] | None = None

    @property
    def name(self) -> str:
        """As a user knows it."""
        return self.text if self.text is not None else _name(self.predicate)

    def __repr__(self) -> str:
        return f"constraint({self.text!r})" if self.text is not None else f"constraint({self.name})"


def constraint(rule: str | Callable[[dict[str, Any]], bool] | Constraint) -> Constraint:
    """A rule that all suggestions of a `SearchSpace` fulfil:

        SearchSpace(constraint("layers * batch_size < 2048"), layers=…, batch_size=…)
        SearchSpace(constraint(lambda h: h["layers"] * h["batch_size"] < 2048), layers=…, batch_size=…)

    rule: a Boolean expression in SQL over the parameters' names, which is evaluated in Rust and is much the
        faster; or a predicate, a function of the hyperparameters (a dict) that returns True or False and runs
        in this process. Where a rule asks for a parameter that does not exist in a suggestion, because of its
        condition, it counts as fulfilled.
    """
    if isinstance(rule, Constraint):
        return rule
    if isinstance(rule, str):
        if not rule.strip():
            raise ConfigError("constraint: the expression is empty; write one such as constraint('a < b')")
        return Constraint(text=rule)
    if callable(rule):
        return Constraint(predicate=rule)
    raise ConfigError(f"constraint takes an expression or a function of the hyperparameters, not {rule!r}")


class _AbsentError(KeyError):
    """A predicate asked for a parameter that does not exist in this suggestion."""


class _Hparams(dict[str, Any]):
    """What a predicate gets."""

    def __init__(self, hparams: dict[str, Any], names: Iterable[str]) -> None:
        super().__init__(hparams)
        self._names = frozenset(names)

    def __missing__(self, name: str) -> Any:
        raise _AbsentError(name) if name in self._names else KeyError(name)


def refused(constraints: Iterable[Constraint], hparams: dict[str, Any], names: Iterable[str]) -> str | None:
    """The predicate that does not allow the hyperparameters, by name; None if all do. `names` are those of
    the whole space. A predicate's own exceptions pass."""
    names = frozenset(names)
    for found in constraints:
        if found.predicate is None:
            continue
        try:
            answer = found.predicate(_Hparams(hparams, names))
        except _AbsentError:
            continue
        if answer is None:
            raise ConfigError(f"the constraint {found.name} returned None; a predicate returns True or False")
        if not answer:
            return found.name
    return None


def _name(predicate: Any) -> str:
    name = getattr(predicate, "__qualname__", None)
    if not isinstance(name, str):
        return repr(predicate)
    code = getattr(predicate, "__code__", None)
    # Two lambdas have one name.
    return f"{name} at line {code.co_firstlineno}" if code is not None and "<lambda>" in name else name
