"""Maggy's `Searchspace`: hyperparameters by name, each of a type, with its bounds or values."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from lethe.errors import ConfigError
from lethe.space.domain import Domain, choice, integer, ordinal, uniform
from lethe.space.space import SearchSpace
from lethe.space.values import number, plain

BOUNDED = ("DOUBLE", "INTEGER")


class Searchspace:
    """
        space = Searchspace(lr=("DOUBLE", [0.001, 0.1]), units=("INTEGER", [8, 64]))
        space.add("activation", ("CATEGORICAL", ["relu", "tanh"]))
        space.lr, space.to_dict()

    DOUBLE and INTEGER have a lower and an upper bound, both included; DISCRETE and CATEGORICAL a list of
    values, with and without an order.

    Raises ConfigError (a ValueError), naming the hyperparameter.
    """

    DOUBLE = "DOUBLE"
    INTEGER = "INTEGER"
    DISCRETE = "DISCRETE"
    CATEGORICAL = "CATEGORICAL"

    _parameters: dict[str, tuple[str, list[Any]]]

    def __init__(self, /, **parameters: Sequence[Any]) -> None:
        self._parameters = {}
        for name, value in parameters.items():
            self.add(name, value)

    def add(self, name: str, value: Sequence[Any]) -> None:
        """Adds a hyperparameter: `space.add("lr", ("DOUBLE", [0.001, 0.1]))`."""
        if not isinstance(name, str) or not name:
            raise ConfigError(f"Searchspace: a hyperparameter's name must be a string, not {name!r}")
        if name in self._parameters:
            raise ConfigError(f"Searchspace: there is a hyperparameter {name!r} already; choose another name")
        if hasattr(self, name):
            raise ConfigError(f"Searchspace: the name {name!r} is reserved; choose another")
        self._parameters[name] = _checked(name, value)

    def __getattr__(self, name: str) -> list[Any]:
        # Not `self._parameters`: an object that is being unpickled has none yet.
        parameters = self.__dict__.get("_parameters", {})
        if name not in parameters:
            raise AttributeError(f"the search space has no hyperparameter {name!r}")
        values: list[Any] = parameters[name][1]
        return values

    def get(self, name: str, default: Any = None) -> Any:
        """Its bounds or values; `default` if there is no such hyperparameter."""
        return self._parameters[name][1] if name in self._parameters else default

    def names(self) -> dict[str, str]:
        """The type of each."""
        return {name: kind for name, (kind, _) in self._parameters.items()}

    def keys(self) -> list[str]:
        return list(self._parameters)

    def values(self) -> list[tuple[str, list[Any]]]:
        return list(self._parameters.values())

    def items(self) -> Iterator[dict[str, Any]]:
        """As iterating over the space: dicts with "name", "type" and "values", in the order of `add`."""
        return iter(self)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for name, (kind, values) in self._parameters.items():
            yield {"name": name, "type": kind, "values": values}

    def __contains__(self, name: object) -> bool:
        return name in self._parameters

    def __len__(self) -> int:
        return len(self._parameters)

    def to_dict(self) -> dict[str, tuple[str, list[Any]]]:
        """What `Searchspace(**…)` makes an equal space of."""
        return dict(self._parameters)

    def json(self) -> str:
        return json.dumps(self.to_dict(), sort_keys=True)

    def __str__(self) -> str:
        return self.json()

    def __repr__(self) -> str:
        return f"Searchspace({', '.join(f'{name}={value!r}' for name, value in self._parameters.items())})"

    def get_random_parameter_values(self, num: int) -> list[dict[str, Any]]:
        """So many random points, of Python's own random state."""
        if isinstance(num, bool) or not isinstance(num, int):
            raise ConfigError(f"Searchspace: num must be a whole number, not {num!r}")
        return [{name: _drawn(*value) for name, value in self._parameters.items()} for _ in range(num)]

    def transform(self, hparams: Iterable[Any], normalize_categorical: bool = False) -> list[Any]:
        """One point, its values in the space's order, as numbers: of DOUBLE and INTEGER the place between the
        bounds, from 0 to 1; of the others the place in their list, with `normalize_categorical` from 0 to 1
        too."""
        return [
            _encoded(kind, values, value, normalize_categorical)
            for (kind, values), value in zip(self.values(), hparams, strict=False)
        ]

    def inverse_transform(
        self, transformed_hparams: Iterable[Any], normalize_categorical: bool = False
    ) -> list[Any]:
        """What `transform` has made these numbers of."""
        return [
            _decoded(kind, values, float(value), normalize_categorical)
            for (kind, values), value in zip(self.values(), transformed_hparams, strict=False)
        ]

    @staticmethod
    def dict_to_list(hparams: Mapping[str, Any]) -> list[Any]:
        return list(hparams.values())

    def list_to_dict(self, hparams: Sequence[Any]) -> dict[str, Any]:
        """The values by name; they are in the space's order."""
        if len(hparams) != len(self):
            raise ConfigError(
                f"Searchspace: {len(hparams)} values were given for {len(self)} hyperparameters"
            )
        return dict(zip(self._parameters, hparams, strict=True))


def space_of(searchspace: Searchspace) -> SearchSpace:
    """The same space as Lethe has it."""
    return SearchSpace(**{name: _domain(*value) for name, value in searchspace.to_dict().items()})


def grid_size(searchspace: Searchspace, points: int) -> int:
    """Points of the whole grid; a DOUBLE has so many `points`."""
    size = 1
    for kind, values in searchspace.values():
        if kind == "DOUBLE":
            size *= points
        else:
            size *= values[1] - values[0] + 1 if kind == "INTEGER" else len(values)
    return size


def _domain(kind: str, values: list[Any]) -> Domain:
    if kind == "DOUBLE":
        return uniform(*values)
    if kind == "INTEGER":
        return integer(*values)
    if kind == "DISCRETE" and all(number(value) for value in values):
        return ordinal(sorted(values))
    return choice(values)


def _checked(name: str, value: Any) -> tuple[str, list[Any]]:
    what = f"Searchspace: {name}={value!r}"
    if not isinstance(value, tuple | list) or len(value) != 2 or not isinstance(value[0], str):
        raise ConfigError(f'{what} must be a pair of a type and a list, as in ("DOUBLE", [0.001, 0.1])')
    kind = value[0].upper()
    if kind not in (*BOUNDED, "DISCRETE", "CATEGORICAL"):
        raise ConfigError(f"{what}: the type must be DOUBLE, INTEGER, DISCRETE or CATEGORICAL")
    if not isinstance(value[1], tuple | list) or not value[1]:
        raise ConfigError(f"{what}: {'bounds' if kind in BOUNDED else 'values'} must be a list, not empty")
    values = [plain(one) for one in value[1]]
    if kind in BOUNDED:
        if len(values) != 2:
            raise ConfigError(
                f"{what}: {kind} has two bounds, the lower and the upper; for a list use DISCRETE"
            )
        if kind == "DOUBLE" and not all(number(one) for one in values):
            raise ConfigError(f"{what}: the bounds of a DOUBLE must be numbers")
        if kind == "INTEGER" and not all(number(one) and isinstance(one, int) for one in values):
            raise ConfigError(f"{what}: the bounds of an INTEGER must be whole numbers")
        if not values[0] < values[1]:
            raise ConfigError(f"{what}: the lower bound must be below the upper")
    return kind, values


def _drawn(kind: str, values: list[Any]) -> Any:
    if kind == "DOUBLE":
        return random.uniform(*values)
    if kind == "INTEGER":
        return random.randint(*values)
    return random.choice(values)


def _encoded(kind: str, values: list[Any], value: Any, normalized: bool) -> Any:
    if kind in BOUNDED:
        value = int(value) if kind == "INTEGER" else float(value)
        return min(1.0, max(0.0, (value - values[0]) / (values[1] - values[0])))
    place = values.index(value)
    return place / max(1, len(values) - 1) if normalized else place


def _decoded(kind: str, values: list[Any], value: float, normalized: bool) -> Any:
    if kind in BOUNDED:
        found = value * (values[1] - values[0]) + values[0]
        return round(found) if kind == "INTEGER" else found
    return values[round(value * (len(values) - 1)) if normalized else int(value)]
