"""Which rows train, validate and test, and the order of an epoch's training rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lethe.errors import DataError


@dataclass(frozen=True)
class Split:
    """The message `Split`: `column` is what rows are told apart by, by its kind."""

    kind: str
    validation: float = 0.0
    test: float = 0.0
    seed: int = 0
    column: str | None = None

    @property
    def validates(self) -> bool:
        return self.kind == "column" or self.validation > 0

    @property
    def tests(self) -> bool:
        return self.kind == "column" or self.test > 0

    def message(self) -> dict[str, Any]:
        found: dict[str, Any] = {"type": self.kind}
        if self.column is not None:
            found["column"] = self.column
        if self.kind != "column":
            found |= {"validation": self.validation, "test": self.test}
        if self.kind not in ("column", "time"):
            found["seed"] = self.seed
        return found

    def check(self, rows: int) -> None:
        """Raises DataError if a part of so many rows would be empty."""
        validation, test = (int(share * rows + 0.5) for share in (self.validation, self.test))
        train = rows - validation - test
        if self.kind == "random" and (
            train < 1 or (self.validates and validation < 1) or (self.tests and test < 1)
        ):
            shares = f"a validation share of {self.validation}"
            left = f"{validation} to validate and {train} to train"
            if self.tests:
                shares += f" and a test share of {self.test}"
                left = f"{validation} to validate, {test} to test and {train} to train"
            raise DataError(f"of {rows} rows, {shares} leaves {left}; choose another share, or more rows")

    def __str__(self) -> str:
        shown: dict[str, Any] = {"validation": self.validation or None, "test": self.test or None}
        if self.kind not in ("column", "time"):
            shown["seed"] = self.seed
        shown[{"column": "by", "stratified": "stratify", "grouped": "group"}.get(self.kind, self.kind)] = (
            self.column
        )
        return ", ".join(f"{name}={value!r}" for name, value in shown.items() if value is not None)


def split_of(
    validation: float | None,
    test: float | None,
    seed: int | None,
    by: str | None,
    stratify: str | None,
    group: str | None,
    time: str | None,
) -> Split:
    """The split that was meant.

    Raises DataError, which names the argument that is wrong.
    """
    columns = {"column": by, "stratified": stratify, "grouped": group, "time": time}
    named = [kind for kind, column in columns.items() if column is not None]
    if len(named) > 1:
        raise DataError("split takes one of by=, stratify=, group= and time=, not several")
    kind = named[0] if named else "random"
    column = columns.get(kind)
    if column is not None and not isinstance(column, str):
        raise DataError(f"split: a column's name must be a string, not {column!r}")
    if kind == "column":
        if (validation, test, seed) != (None, None, None):
            raise DataError(
                f"split: by={by!r} says itself which rows validate; leave out validation, test and seed"
            )
        return Split(kind, column=column)
    if kind == "time" and seed is not None:
        raise DataError("split: time= draws nothing; leave out seed")
    shares = {"validation": validation, "test": test}
    for name, share in shares.items():
        number = isinstance(share, int | float) and not isinstance(share, bool)
        if share is not None and not (number and 0 < share < 1):
            raise DataError(f"split: {name} is a share between 0 and 1, not {share!r}")
    if validation is None and test is None:
        raise DataError("split needs a share: dataset.split(validation=0.2, seed=1), or by=column")
    if (validation or 0) + (test or 0) >= 1:
        raise DataError(
            f"split: validation={validation} and test={test} leave nothing to train; they must add up to "
            "less than 1"
        )
    chosen = 0 if seed is None else seed
    if isinstance(chosen, bool) or not isinstance(chosen, int) or not 0 <= chosen < 2**63:
        raise DataError(f"split: seed must be a whole number from 0, below 2**63, not {seed!r}")
    return Split(kind, float(validation or 0), float(test or 0), chosen, column)


@dataclass(frozen=True)
class Order:
    """The message `Order`. sampling: "each", "balanced" or "weighted". blocks: rows of one, None where
    all are shuffled together. shuffled: False leaves the rows as they are numbered."""

    sampling: str = "each"
    shuffled: bool = True
    blocks: int | None = None
    window: int = 32

    def message(self) -> dict[str, Any]:
        shuffle: dict[str, Any] = {"type": "full" if self.shuffled else "off"}
        if self.shuffled and self.blocks is not None:
            shuffle = {"type": "blocks", "rows": self.blocks, "window": self.window}
        return {"sampling": self.sampling, "shuffle": shuffle}


def order_of(shuffled: bool, blocks: int | None, window: int, sampling: str) -> Order:
    """Raises DataError, which names the argument that is wrong."""
    if not isinstance(shuffled, bool):
        raise DataError(
            f"shuffle takes True or False, not {shuffled!r}; blocks are named: shuffle(blocks=4096)"
        )
    for name, value in (("blocks", blocks), ("window", window)):
        whole = isinstance(value, int) and not isinstance(value, bool) and 1 <= value < 2**32
        if not whole and not (name == "blocks" and value is None):
            raise DataError(f"shuffle: {name} must be a whole number from 1, not {value!r}")
    if blocks is not None and not shuffled:
        raise DataError("shuffle(False) shuffles nothing; leave out blocks")
    return Order(sampling, shuffled, blocks, window)
