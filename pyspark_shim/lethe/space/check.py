"""Whether a space's parameters fit together, and whether a point lies in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lethe.errors import ConfigError
from lethe.space.domain import Domain


def check_parameters(parameters: Mapping[str, Domain]) -> None:
    """Raises ConfigError, naming the parameter, for a domain that cannot be sampled."""
    for name, domain in parameters.items():
        if not isinstance(domain, Domain):
            raise ConfigError(
                f"SearchSpace: {name}={domain!r} is not a domain; use uniform, loguniform, integer, choice "
                f"or ordinal ({name}=choice({domain!r}) for a fixed value)"
            )
        problem = domain.problem()
        if problem is not None:
            raise ConfigError(f"SearchSpace: {name}={domain!r}: {problem}")


def ordered(parameters: Mapping[str, Domain]) -> list[str]:
    """The names, each parent before what depends on it, else as they were given.

    Raises ConfigError, naming the parameter, for a condition that can never hold.
    """
    for name, domain in parameters.items():
        _check_condition(name, domain, parameters)
    placed: dict[str, None] = {}
    while len(placed) < len(parameters):
        free = [
            name
            for name, domain in parameters.items()
            if name not in placed and (domain.condition is None or domain.condition.parent in placed)
        ]
        if not free:
            cycle = _cycle(next(name for name in parameters if name not in placed), parameters)
            raise ConfigError(
                f"SearchSpace: {cycle[0]}={parameters[cycle[0]]!r}: the conditions go round in a circle "
                f"({' → '.join(cycle)}); take one of them out"
            )
        placed.update(dict.fromkeys(free))
    return list(placed)


def _check_condition(name: str, domain: Domain, parameters: Mapping[str, Domain]) -> None:
    condition = domain.condition
    if condition is None:
        return
    what = f"SearchSpace: {name}={domain!r}"
    parent = parameters.get(condition.parent)
    if parent is None:
        raise ConfigError(
            f"{what}: there is no parameter {condition.parent!r}; the others are "
            f"{', '.join(other for other in parameters if other != name) or 'none'}"
        )
    if parent.continuous and parent.step is None:
        raise ConfigError(
            f"{what}: {condition.parent} is continuous and hits one value never; make it a choice, an "
            "ordinal or an integer, or give it a step"
        )
    if not condition.values:
        raise ConfigError(f"{what}: the condition has no value; name at least one")
    for value in condition.values:
        try:
            parent.find(value)
        except ValueError as error:
            raise ConfigError(
                f"{what}: {condition.parent}={parent!r} cannot take that value: {error}"
            ) from None


def _cycle(name: str, parameters: Mapping[str, Domain]) -> list[str]:
    path: list[str] = []
    while name not in path:
        path.append(name)
        condition = parameters[name].condition
        assert condition is not None
        name = condition.parent
    return [*path[path.index(name) :], name]


def check_point(
    point: Mapping[str, Any], parameters: Mapping[str, Domain], order: list[str], *, whole: bool
) -> dict[str, Any]:
    """The point with the domains' own values, completed by their defaults where it does not say.

    whole: nothing may be missing then; else the driver draws it.
    Raises ValueError, naming the parameter.
    """
    if not isinstance(point, Mapping):
        raise ValueError(f"{point!r} is not a dict of hyperparameters")
    for name in point:
        if name not in parameters:
            raise ValueError(f"{name!r} is not a parameter of the space; it has {', '.join(parameters)}")
    found: dict[str, Any] = {}
    for name in order:
        domain = parameters[name]
        exists = _exists(domain, found, parameters)
        if name in point:
            if not exists:
                assert domain.condition is not None
                parent = domain.condition.parent
                rest = f"{parent} is {found[parent]!r}" if parent in found else f"give {parent} too"
                raise ValueError(f"{name} exists only when {domain.condition!r}; {rest}")
            try:
                found[name] = domain.find(point[name])
            except ValueError as error:
                raise ValueError(f"{name}={domain!r}: {error}") from None
        elif exists and domain.has_default:
            found[name] = domain.find(domain.default)
        elif exists and whole:
            raise ValueError(f"{name} is missing, and {name}={domain!r} has no default")
    return found


def _exists(domain: Domain, found: Mapping[str, Any], parameters: Mapping[str, Domain]) -> bool:
    """Whether the parameter surely exists, as far as is known of its parent."""
    condition = domain.condition
    return condition is None or (condition.parent in found and condition.allows(found[condition.parent]))
