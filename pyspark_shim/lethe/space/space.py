"""Search spaces: named hyperparameters, the values that each can take, and what they must fulfil together."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from lethe.errors import ConfigError, InstallError
from lethe.space import sample
from lethe.space.check import check_parameters, check_point, ordered
from lethe.space.constraint import Constraint, refused
from lethe.space.domain import Domain


class SearchSpace(Mapping[str, Domain]):
    """Named hyperparameters and their domains, after the constraints that hold between them.

    >>> SearchSpace(lr=loguniform(1e-4, 1e-1), width=integer(16, 256))
    SearchSpace(lr=loguniform(0.0001, 0.1), width=integer(16, 256))

    >>> SearchSpace(
    ...     constraint("layers * batch_size < 2048"),
    ...     batch_size=ordinal(32, 64, 128, default=64),
    ...     layers=integer(1, 64, log=True, default=2),
    ...     optimizer=choice("adam", "sgd", default="adam"),
    ...     momentum=uniform(0, 0.9, step=0.1).when(optimizer="sgd"),
    ... )

    Names that `Supervised` lists (`lr`, `batch_size`, …) override its values; all others reach the model
    generator in `hparams`, which has no entry for a parameter whose condition does not hold.

    Raises ConfigError, naming the parameter, for ranges without a value, a logarithm of zero, a default
    outside, a condition that cannot hold, and an expression that is none.
    """

    def __init__(self, /, *constraints: Constraint, **parameters: Domain) -> None:
        if not parameters:
            raise ConfigError(
                "SearchSpace has no parameter; name at least one, as in SearchSpace(lr=loguniform(1e-4, "
                "1e-1))"
            )
        for found in constraints:
            if not isinstance(found, Constraint):
                raise ConfigError(
                    f"SearchSpace: {found!r} is not a constraint; write constraint({found!r})"
                    if isinstance(found, str) or callable(found)
                    else f"SearchSpace: {found!r} is not a constraint; parameters are given by name"
                )
        check_parameters(parameters)
        self._order = ordered(parameters)
        self._parameters = dict(parameters)
        self.constraints = tuple(constraints)
        if self.expressions:
            # The driver knows SQL; where it is not installed it says so when the experiment begins.
            with contextlib.suppress(InstallError):
                sample.points(self.message(), self.expressions, seed=0, count=1)

    def __getitem__(self, name: str) -> Domain:
        return self._parameters[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._parameters)

    def __len__(self) -> int:
        return len(self._parameters)

    def __repr__(self) -> str:
        parts = [repr(found) for found in self.constraints]
        parts += [f"{name}={domain!r}" for name, domain in self._parameters.items()]
        return f"SearchSpace({', '.join(parts)})"

    @property
    def order(self) -> tuple[str, ...]:
        """The names, each parent before what depends on it."""
        return tuple(self._order)

    @property
    def expressions(self) -> list[str]:
        """The constraints that Rust evaluates."""
        return [found.text for found in self.constraints if found.text is not None]

    @property
    def has_predicates(self) -> bool:
        return any(found.predicate is not None for found in self.constraints)

    def sample(self, seed: int = 0, n: int | None = None) -> Any:
        """Random points, as the optimizer "random" draws them: a dict of hyperparameters, or a list of `n`.
        The same seed gives the same points.

        Raises ConfigError if constraints leave too little of the space, InstallError if the driver's program
        is not installed.
        """
        if n is not None and (isinstance(n, bool) or not isinstance(n, int) or n < 0):
            raise ConfigError(f"sample: n must be None or a whole number from 0, not {n!r}")
        count = 1 if n is None else n
        found = sample.allowed(self.message(), self.expressions, self.refused, seed=seed, count=count)
        return found[0] if n is None else found

    def refused(self, hparams: dict[str, Any]) -> str | None:
        """The predicate that does not allow this point, by name; None if all do."""
        return refused(self.constraints, hparams, self._parameters)

    def unfulfilled(self, points: list[dict[str, Any]]) -> tuple[int, str] | None:
        """The place of the first of these points that cannot be completed so that it fulfils the expressions,
        and why; None if all can, or the driver's program, which evaluates them, is not installed.

        Raises ProcessError if the program cannot be run.
        """
        if points and self.expressions:
            # Where it is not installed the driver says so when the experiment begins.
            with contextlib.suppress(InstallError):
                return sample.unfulfilled(self.message(), self.expressions, points)
        return None

    def point(self, hparams: Mapping[str, Any], *, whole: bool = False) -> dict[str, Any]:
        """A point that a user gives, checked against the domains, with defaults for what it lacks.

        whole: each parameter that exists must be there then.
        Raises ValueError, naming the parameter.
        """
        return check_point(hparams, self._parameters, self._order, whole=whole)

    def default(self) -> dict[str, Any] | None:
        """The point of all defaults; None if a parameter that exists there has none."""
        try:
            return self.point({}, whole=True)
        except ValueError:
            return None

    def message(self) -> list[dict[str, Any]]:
        """The message `Parameter` of each."""
        found = []
        for name, domain in self._parameters.items():
            parameter: dict[str, Any] = {"name": name, "domain": domain.message()}
            if domain.condition is not None:
                parent = domain.condition.parent
                values = [self._parameters[parent].find(value) for value in domain.condition.values]
                parameter["condition"] = {"parent": parent, "values": values}
            found.append(parameter)
        return found
