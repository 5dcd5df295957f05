"""Search spaces: named hyperparameters and the values that each can take."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lethe.errors import ConfigError


@dataclass(frozen=True)
class Domain:
    """The values that a hyperparameter can take. Made by `uniform`, `loguniform`, `integer` and `choice`."""

    kind: str
    low: float | int | None = None
    high: float | int | None = None
    values: tuple[Any, ...] = ()

    def __repr__(self) -> str:
        if self.kind == "choice":
            return f"choice({', '.join(map(repr, self.values))})"
        return f"{self.kind.replace('_', '')}({self.low!r}, {self.high!r})"

    def message(self) -> dict[str, Any]:
        if self.kind == "choice":
            return {"type": "choice", "values": list(self.values)}
        return {"type": self.kind, "low": self.low, "high": self.high}

    def problem(self) -> str | None:
        """Why the domain cannot be sampled, if so."""
        if self.kind == "choice":
            return self._choice_problem()
        if isinstance(self.low, bool) or isinstance(self.high, bool):
            return "bounds must be numbers"
        numbers = (int,) if self.kind == "integer" else (int, float)
        if not isinstance(self.low, numbers) or not isinstance(self.high, numbers):
            wanted = "integers" if self.kind == "integer" else "numbers"
            return f"bounds must be {wanted}, not {self.low!r} and {self.high!r}"
        if not (math.isfinite(self.low) and math.isfinite(self.high)):
            return "bounds must be finite"
        if self.low > self.high:
            return f"the lower bound {self.low!r} is above the upper bound {self.high!r}; swap them"
        if self.kind == "log_uniform" and self.low <= 0:
            return (
                f"the lower bound {self.low!r} must be above 0 on a log scale; use uniform or a small "
                "positive bound"
            )
        if self.kind == "integer" and not (self.low >= -(2**63) and self.high < 2**63):
            return "bounds must fit 64 bits"
        return None

    def _choice_problem(self) -> str | None:
        if not self.values:
            return "choice needs at least one value"
        for value in self.values:
            try:
                json.dumps(value, allow_nan=False)
            except (TypeError, ValueError):
                return (
                    f"the value {value!r} is not plain data; use numbers, strings, booleans, None or lists "
                    "of them"
                )
        return None


def _plain(value: Any) -> Any:
    """NumPy's scalars as Python's."""
    item = getattr(value, "item", None)
    return item() if callable(item) and getattr(value, "shape", None) == () else value


def uniform(low: float, high: float) -> Domain:
    """A number between `low` and `high`, each equally likely."""
    return Domain("uniform", _plain(low), _plain(high))


def loguniform(low: float, high: float) -> Domain:
    """A number between `low` and `high`, both above 0, whose logarithm is uniform: for learning rates."""
    return Domain("log_uniform", _plain(low), _plain(high))


def integer(low: int, high: int) -> Domain:
    """A whole number from `low` to `high`, both included."""
    return Domain("integer", _plain(low), _plain(high))


def choice(*values: Any) -> Domain:
    """One of the values: `choice("adam", "sgd")` or `choice([32, 64, 128])`."""
    if len(values) == 1 and isinstance(values[0], Sequence) and not isinstance(values[0], str):
        values = tuple(values[0])
    return Domain("choice", values=tuple(_plain(value) for value in values))


class SearchSpace(Mapping[str, Domain]):
    """Named hyperparameters and their domains.

    >>> SearchSpace(lr=loguniform(1e-4, 1e-1), width=integer(16, 256))
    SearchSpace(lr=loguniform(0.0001, 0.1), width=integer(16, 256))

    Names that `Supervised` lists (`lr`, `batch_size`, …) override its values; all others reach the model
    generator in `hparams`.
    """

    def __init__(self, **parameters: Domain) -> None:
        if not parameters:
            raise ConfigError(
                "SearchSpace has no parameter; name at least one, as in SearchSpace(lr=loguniform(1e-4, "
                "1e-1))"
            )
        for name, domain in parameters.items():
            if not isinstance(domain, Domain):
                raise ConfigError(
                    f"SearchSpace: {name}={domain!r} is not a domain; use uniform, loguniform, integer or "
                    "choice "
                    f"({name}=choice({domain!r}) for a fixed value)"
                )
            problem = domain.problem()
            if problem is not None:
                raise ConfigError(f"SearchSpace: {name}={domain!r}: {problem}")
        self._parameters = dict(parameters)

    def __getitem__(self, name: str) -> Domain:
        return self._parameters[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._parameters)

    def __len__(self) -> int:
        return len(self._parameters)

    def __repr__(self) -> str:
        return f"SearchSpace({', '.join(f'{name}={domain!r}' for name, domain in self._parameters.items())})"

    def message(self) -> list[dict[str, Any]]:
        return [{"name": name, "domain": domain.message()} for name, domain in self._parameters.items()]
