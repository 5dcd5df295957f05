"""`lethe.Input`: the tensors that a module gets, and which columns make them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lethe.errors import DataError

#: The name of the one tensor where inputs have none.
FEATURES = "features"
DTYPES = ("float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool")
#: Columns of batches beside the inputs.
RESERVED = ("label", "weight")


@dataclass(frozen=True)
class Input:
    """One named tensor, `[rows, *shape]`.

        features={"image": lethe.Input("pixels", shape=(1, 8, 8)), "facts": ["age", "city"]}

    columns: side by side in a row: numbers, booleans, strings (as categories), or arrays of numbers.
    dtype: "float32", "float64", "int8", "int16", "int32", "int64", "uint8" or "bool". None: the columns' own;
        floats are float32, strings int64, and columns that differ float32 if there are floats, else int64.
    shape: of one row. None: `[width]`; of one column of nested arrays their lengths.

    Raises DataError if it names no column, an unknown dtype or a shape that is none.
    """

    columns: tuple[str, ...]
    dtype: str | None = None
    shape: tuple[int, ...] | None = None

    def __init__(
        self, columns: str | Sequence[str], dtype: str | None = None, shape: Sequence[int] | None = None
    ) -> None:
        named = (columns,) if isinstance(columns, str) else tuple(columns)
        if not named:
            raise DataError("features names no column; name at least one")
        for name in named:
            if not isinstance(name, str):
                raise DataError(f"features must be names of columns, not {name!r}")
        repeated = [name for name in named if named.count(name) > 1]
        if repeated:
            raise DataError(f"the column {repeated[0]!r} is named twice in features; name it once")
        if dtype is not None and dtype not in DTYPES:
            raise DataError(f"Input: dtype must be None or one of {', '.join(DTYPES)}, not {dtype!r}")
        sizes = None if shape is None else tuple(shape)
        for size in sizes or ():
            if isinstance(size, bool) or not isinstance(size, int) or not 0 < size < 2**32:
                raise DataError(f"Input: shape must be whole numbers from 1, not {shape!r}")
        object.__setattr__(self, "columns", named)
        object.__setattr__(self, "dtype", dtype)
        object.__setattr__(self, "shape", sizes)

    def message(self, name: str, normalize: Sequence[str]) -> dict[str, Any]:
        """The message `Input`."""
        found: dict[str, Any] = {"name": name, "columns": list(self.columns)}
        if self.dtype is not None:
            found["dtype"] = self.dtype
        if self.shape is not None:
            found["shape"] = list(self.shape)
        if normalize:
            found["normalize"] = list(normalize)
        return found


#: By their names, in the order of the arguments of a module's `forward`.
Inputs = Mapping[str, Input]
Features = str | Sequence[str] | Mapping[str, "str | Sequence[str] | Input"] | Input


def inputs_of(features: Features) -> Inputs:
    """The inputs that were meant: a column or a list is one float32 tensor; a dictionary names several.

    Raises DataError, which names what is wrong.
    """
    if isinstance(features, Input):
        return {FEATURES: features}
    if not isinstance(features, Mapping):
        return {FEATURES: Input(features, "float32")}
    if not features:
        raise DataError("features names no column; name at least one")
    found = {}
    for name, columns in features.items():
        if not isinstance(name, str) or not name:
            raise DataError(f"features: an input's name must be a string, not {name!r}")
        if name in RESERVED:
            raise DataError(
                f"features: an input cannot be named {name!r}, batches have that beside it; rename it"
            )
        found[name] = columns if isinstance(columns, Input) else Input(columns)
    return found


def unnamed(inputs: Mapping[str, Any] | None) -> bool:
    """Whether there is the one tensor of features, which has no name of its own."""
    return inputs is None or list(inputs) == [FEATURES]


def columns_of(inputs: Inputs) -> list[str]:
    """Each once, in order."""
    return list(dict.fromkeys(name for one in inputs.values() for name in one.columns))


def without(inputs: Inputs, names: Sequence[str]) -> Inputs:
    """Without these columns; an input that has none left goes too.

    Raises DataError if nothing is left.
    """
    left = {
        name: replace_columns(one, [column for column in one.columns if column not in names])
        for name, one in inputs.items()
        if any(column not in names for column in one.columns)
    }
    if not left:
        raise DataError("no feature is left; keep at least one")
    return left


def replace_columns(one: Input, columns: Sequence[str]) -> Input:
    """A shape was that of other columns: it does not stay."""
    same = tuple(columns) == one.columns
    return Input(columns, one.dtype, one.shape if same else None)


def with_columns(inputs: Inputs, columns: Sequence[str]) -> Inputs:
    """The one input, of these columns."""
    return {name: replace_columns(one, columns) for name, one in inputs.items()}


def added(inputs: Inputs, name: str, column: str) -> Inputs:
    one = inputs[name]
    return inputs if column in one.columns else {**inputs, name: replace_columns(one, [*one.columns, column])}
