"""What a model's outputs mean, as columns."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from lethe import checks
from lethe.errors import ConfigError, DataError, ModelError
from lethe.saved.signature import Signature

#: Of probabilities and of outputs, one list a row.
LIST = pa.list_(pa.float32())


@dataclass(frozen=True)
class Wanted:
    """How `predict` was called. column, probabilities: names of the columns that it adds."""

    column: str
    probabilities: str | None
    unknown: int | None
    batch_size: int

    @property
    def names(self) -> list[str]:
        return [self.column, *([] if self.probabilities is None else [self.probabilities])]

    def check_free(self, columns: list[str]) -> None:
        """Raises DataError if the rows have such a column."""
        for name in self.names:
            if name in columns:
                raise DataError(
                    f"the rows have a column {name!r} already; give the new one another name: "
                    'predict(…, column="…", probabilities="…")'
                )


def wanted_of(
    signature: Signature, column: str, probabilities: bool | str, unknown: int | None, batch_size: int
) -> Wanted:
    """Raises ConfigError, which names the argument that is wrong."""
    if not isinstance(column, str) or not column:
        raise ConfigError(f"predict: column must be a name, not {column!r}")
    if not isinstance(probabilities, bool | str) or probabilities == "":
        raise ConfigError(f"predict: probabilities must be True, False or a name, not {probabilities!r}")
    checks.whole("predict: batch_size", batch_size, 1)
    if unknown is not None and (isinstance(unknown, bool) or not isinstance(unknown, int)):
        raise ConfigError(f"predict: unknown must be None or the number of a category, not {unknown!r}")
    name = "probabilities" if probabilities is True else probabilities or None
    if name == column:
        raise ConfigError(f"predict: column and probabilities are both {column!r}; give two names")
    if name is not None and signature.task not in ("classification", "binary"):
        raise ConfigError(
            f"predict: a model of the task {signature.task!r} has no probabilities; if it classifies, load "
            'it so: lethe.load(…, task="classification")'
        )
    return Wanted(column, name, unknown, batch_size)


def fields(signature: Signature, wanted: Wanted) -> list[pa.Field]:
    """The columns that `predict` adds."""
    if signature.task == "regression":
        kind = pa.float64()
    elif signature.task == "output":
        kind = LIST
    elif signature.classes is not None:
        kind = pa.string()
    else:
        kind = pa.bool_() if signature.flag else pa.int64()
    found = [pa.field(wanted.column, kind)]
    return found if wanted.probabilities is None else [*found, pa.field(wanted.probabilities, LIST)]


def arrays(output: Any, signature: Signature, wanted: Wanted) -> list[pa.Array]:
    """The columns of `fields`, of a module's output `[rows, …]`.

    Raises ModelError if its shape is not the task's.
    """
    rows = output.reshape(output.shape[0], math.prod(output.shape[1:]))
    if signature.task == "output":
        return [_lists(rows)]
    if signature.task in ("classification", "binary"):
        _check_numbers(rows)
    if signature.task == "classification":
        if rows.shape[1] < 2 or output.dim() != 2:
            raise _unfit(output, signature, "logits [rows, classes]")
        classes, shares = rows.argmax(dim=1), rows.float().softmax(dim=1)
    else:
        if rows.shape[1] != 1:
            raise _unfit(output, signature, "one number a row")
        if signature.task == "regression":
            return [pa.array(rows[:, 0].double().numpy())]
        # As the executor's accuracy has it.
        classes, positive = (rows[:, 0] > 0).long(), rows[:, 0].float().sigmoid()
        shares = positive.new_empty(len(rows), 2)
        shares[:, 0], shares[:, 1] = 1 - positive, positive
    found = [_named(classes, signature)]
    return found if wanted.probabilities is None else [*found, _lists(shares)]


def _check_numbers(rows: Any) -> None:
    """NaN would make some class of a row."""
    strange = int(rows.isnan().any(dim=1).sum())
    if strange:
        raise ModelError(
            f"the model gave NaN for {strange} of {len(rows)} rows, which is no class; do their columns "
            "hold NaN? As in training they are no nulls, and not filled: df.replace(float('nan'), None)"
        )


def _named(classes: Any, signature: Signature) -> pa.Array:
    numbers = pa.array(classes.numpy())
    if signature.classes is None:
        return numbers.cast(pa.bool_()) if signature.flag else numbers
    names = pa.array(signature.classes, pa.string())
    if len(classes) and int(classes.max()) >= len(names):
        raise ModelError(
            f"the model found the class {int(classes.max())}, and its label had {len(names)} classes in "
            "training; does it have an output too many?"
        )
    return names.take(numbers)


def _lists(rows: Any) -> pa.Array:
    values, (count, width) = rows.float().contiguous(), rows.shape
    offsets = pa.array([place * width for place in range(count + 1)], pa.int32())
    return pa.ListArray.from_arrays(offsets, pa.array(values.reshape(-1).numpy()))


def _unfit(output: Any, signature: Signature, needs: str) -> ModelError:
    return ModelError(
        f"the model's output has the shape {list(output.shape)}, and the task {signature.task!r} needs "
        f'{needs}; name another: lethe.load(…, task="classification"), "binary", "regression" or "output"'
    )
