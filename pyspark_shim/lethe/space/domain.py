"""Domains: the values that one hyperparameter can take, and when it exists at all."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lethe.errors import ConfigError
from lethe.space.values import MISSING, Missing, finite, key, listed, number, plain, same

CONTINUOUS = ("uniform", "log_uniform")
LISTED = ("choice", "ordinal")
#: A value may be this far from a step, as a share of the step: decimal steps are no exact binary numbers.
STEP_TOLERANCE = 1e-6
#: Beyond, one step more is the same number.
MOST_STEPS = 2**53


@dataclass(frozen=True)
class Condition:
    """Holds where the parameter `parent` exists and has one of these values."""

    parent: str
    values: tuple[Any, ...]

    def __repr__(self) -> str:
        shown = repr(self.values[0]) if len(self.values) == 1 else repr(list(self.values))
        return f"{self.parent}={shown}"

    def allows(self, value: Any) -> bool:
        return any(same(value, own) for own in self.values)


@dataclass(frozen=True)
class Domain:
    """The values that a hyperparameter can take. Made by `uniform`, `loguniform`, `integer`, `choice` and
    `ordinal`; what cannot be sampled is refused by the `SearchSpace`, which knows the parameter's name."""

    kind: str
    low: float | int | None = None
    high: float | int | None = None
    step: float | int | None = None
    log: bool = False
    values: tuple[Any, ...] = ()
    default: Any = MISSING
    condition: Condition | None = None

    def when(self, **parent: Any) -> Domain:
        """The same domain for a parameter that exists only where another one, its parent, has this value, or
        one of these:

            momentum=uniform(0, 0.99).when(optimizer="sgd")
            momentum=uniform(0, 0.99).when(optimizer=["sgd", "rmsprop"])

        A parent that is conditional itself nests the conditions. The parent must be a choice, an ordinal, an
        integer, or have a step.
        """
        if len(parent) != 1:
            raise ConfigError(
                f"when: name one parent, not {len(parent)}; for a second condition make the parent itself "
                "conditional"
            )
        if self.condition is not None:
            raise ConfigError(
                f"when: the domain is conditional already (when {self.condition!r}); for a second condition "
                "make the parent itself conditional"
            )
        [(name, values)] = parent.items()
        try:
            given = tuple(listed(values))
        except TypeError:
            raise ConfigError(f"when: {name}={values!r} is neither a value nor a list of values") from None
        return dataclasses.replace(self, condition=Condition(name, given))

    @property
    def has_default(self) -> bool:
        return not isinstance(self.default, Missing)

    @property
    def continuous(self) -> bool:
        """Of real numbers, also where they have a step."""
        return self.kind in CONTINUOUS

    def __repr__(self) -> str:
        if self.kind in LISTED:
            # A single list would be read as the list of values.
            alone = len(self.values) == 1 and isinstance(self.values[0], list)
            arguments = [repr(list(self.values))] if alone else [repr(value) for value in self.values]
        else:
            arguments = [repr(self.low), repr(self.high)]
        if self.step is not None:
            arguments.append(f"step={self.step!r}")
        if self.log:
            arguments.append("log=True")
        if self.has_default:
            arguments.append(f"default={self.default!r}")
        made = f"{self.kind.replace('_', '')}({', '.join(arguments)})"
        return made if self.condition is None else f"{made}.when({self.condition!r})"

    def message(self) -> dict[str, Any]:
        """The message `Domain`."""
        if self.kind in LISTED:
            return {"type": self.kind, "values": list(self.values)}
        found: dict[str, Any] = {"type": self.kind, "low": self.low, "high": self.high}
        if self.step is not None:
            found["step"] = self.step
        if self.log:
            found["log"] = True
        return found

    def find(self, value: Any) -> Any:
        """The domain's own value that equals this one: 2.0 is found as 2 in `integer(1, 3)`.

        Raises ValueError, with why it is outside.
        """
        value = plain(value)
        if self.kind in LISTED:
            for own in self.values:
                if same(value, own):
                    return own
            raise ValueError(f"{value!r} is not one of {', '.join(map(repr, self.values))}")
        if not number(value) or not finite(value):
            raise ValueError(f"{value!r} is not a number")
        if self.kind == "integer" and not float(value).is_integer():
            raise ValueError(f"{value!r} is not a whole number")
        assert self.low is not None
        assert self.high is not None
        if not self.low <= value <= self.high:
            raise ValueError(f"{value!r} is not between {self.low!r} and {self.high!r}")
        if self.step is not None:
            steps = (value - self.low) / self.step
            if abs(steps - round(steps)) > STEP_TOLERANCE:
                raise ValueError(
                    f"{value!r} is not {self.low!r} plus a whole number of steps of {self.step!r}"
                )
        return int(value) if self.kind == "integer" else float(value)

    def problem(self) -> str | None:
        """Why the domain cannot be sampled, if so."""
        found = self._values_problem() if self.kind in LISTED else self._range_problem()
        if found is None and self.has_default:
            try:
                self.find(self.default)
            except ValueError as error:
                return f"the default {error}"
        return found

    def _range_problem(self) -> str | None:
        if not (number(self.low) and number(self.high)):
            return f"bounds must be numbers, not {self.low!r} and {self.high!r}"
        whole = isinstance(self.low, int) and isinstance(self.high, int)
        if self.kind == "integer" and not whole:
            return f"bounds must be integers, not {self.low!r} and {self.high!r}"
        assert self.low is not None
        assert self.high is not None
        if not (finite(self.low) and finite(self.high)):
            return "bounds must be finite, and fit 64 bits"
        if self.low > self.high:
            return f"the lower bound {self.low!r} is above the upper bound {self.high!r}; swap them"
        if (self.kind == "log_uniform" or self.log) and self.low <= 0:
            return (
                f"the lower bound {self.low!r} must be above 0 on a log scale; use a linear scale or a small "
                "positive bound"
            )
        if self.kind == "integer" and not (self.low >= -(2**63) and self.high < 2**63):
            return "bounds must fit 64 bits"
        return None if self.step is None else self._step_problem(self.high - self.low)

    def _step_problem(self, width: float) -> str | None:
        step = self.step
        if not number(step) or not finite(step or 0) or (step or 0) <= 0:
            return f"the step must be a number above 0, not {step!r}"
        if self.kind == "integer" and not isinstance(step, int):
            return f"the step must be a whole number, not {step!r}"
        if self.log:
            return "a step and a log scale exclude each other; leave out one"
        # 0.3 - 0.1 is less than 0.2, in binary.
        if step is not None and step > width * (1 if self.kind == "integer" else 1 + STEP_TOLERANCE):
            return f"the step {step!r} is larger than the range from {self.low!r} to {self.high!r}"
        if self.kind != "integer" and step is not None and width / step > MOST_STEPS:
            return f"the step {step!r} is too small for the range from {self.low!r} to {self.high!r}"
        return None

    def _values_problem(self) -> str | None:
        if not self.values:
            return f"{self.kind} needs at least one value"
        seen: set[object] = set()
        for value in self.values:
            found = key(value)
            if found is None:
                return (
                    f"the value {value!r} is not plain data; use numbers, strings, booleans, None or lists "
                    "of them"
                )
            if found in seen:
                return f"the value {value!r} is there twice"
            seen.add(found)
        return None


def uniform(low: float, high: float, step: float | None = None, *, default: Any = MISSING) -> Domain:
    """A number between `low` and `high`, both included, each equally likely.

    step: only `low`, `low + step`, `low + 2 * step`, … up to `high` are taken.
    default: a value that you know to work; see `Search` for what it is used for.
    """
    return Domain("uniform", plain(low), plain(high), plain(step), default=plain(default))


def loguniform(low: float, high: float, *, default: Any = MISSING) -> Domain:
    """A number between `low` and `high`, both above 0, whose logarithm is uniform: for learning rates.

    default: a value that you know to work; see `Search`.
    """
    return Domain("log_uniform", plain(low), plain(high), default=plain(default))


def integer(
    low: int, high: int, step: int | None = None, log: bool = False, *, default: Any = MISSING
) -> Domain:
    """A whole number from `low` to `high`, both included.

    step: only `low`, `low + step`, … up to `high` are taken.
    log: small numbers are as likely as large ones, by their order of magnitude; `low` is then at least 1.
    default: a value that you know to work; see `Search`.
    """
    return Domain("integer", plain(low), plain(high), plain(step), bool(log), default=plain(default))


def choice(*values: Any, default: Any = MISSING) -> Domain:
    """One of the values, which have no order: `choice("adam", "sgd")` or `choice(["adam", "sgd"])`. Values
    are numbers, strings, booleans, None, or lists of them.

    default: the value that you know to work; see `Search`.
    """
    return Domain("choice", values=_values(values), default=plain(default))


def ordinal(*values: Any, default: Any = MISSING) -> Domain:
    """One of the values, whose order has a meaning: `ordinal(16, 32, 64, 128)` or
    `ordinal("small", "medium", "large")`. Optimizers take neighbours for alike.

    default: the value that you know to work; see `Search`.
    """
    return Domain("ordinal", values=_values(values), default=plain(default))


def _values(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(values) == 1 and isinstance(values[0], Sequence) and not isinstance(values[0], str):
        values = tuple(values[0])
    return tuple(plain(value) for value in values)
