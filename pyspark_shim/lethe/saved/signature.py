"""What a model takes and gives: raw columns, how they become its inputs, and what its outputs mean."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from lethe.dataset.columns import is_string
from lethe.dataset.placed import Placed
from lethe.dataset.preprocessing import Preprocessing
from lethe.errors import ConfigError, ModelError

#: classification: logits `[rows, classes]`. binary: one logit a row. regression: one number a row. output:
#: whatever it gives, a list a row.
TASKS = ("classification", "binary", "regression", "output")
_OF_LOSS = {
    "cross_entropy": "classification",
    "binary_cross_entropy": "binary",
    "mse": "regression",
    "l1": "regression",
    "huber": "regression",
}


@dataclass(frozen=True)
class Signature:
    """preprocessing: of raw rows. columns: those that it reads, with the types of training. absent: those
    of them that rows need not have, as the label that a query names. task: of `TASKS`. flag: whether the
    label was booleans, and classes are."""

    preprocessing: Preprocessing
    columns: pa.Schema
    absent: tuple[str, ...] = ()
    task: str = "output"
    flag: bool = False

    @property
    def classes(self) -> list[str] | None:
        """The names of the classes 0, 1, …; None where the label was numbers or booleans."""
        return self.preprocessing.classes

    @property
    def required(self) -> dict[str, pa.DataType]:
        """The columns that rows must have."""
        return {field.name: field.type for field in self.columns if field.name not in self.absent}

    def of_task(self, task: str | None) -> Signature:
        """With another task.

        Raises ConfigError if there is no such.
        """
        if task is None:
            return self
        if task not in TASKS:
            raise ConfigError(f"task must be one of {', '.join(TASKS)}, not {task!r}")
        return replace(self, task=task)

    def message(self) -> dict[str, Any]:
        """As `experiment.json` has it, beside its preprocessing and its schema."""
        return {
            "task": self.task,
            "label": self.preprocessing.label,
            "boolean": self.flag,
            "classes": self.classes,
            "absent": list(self.absent),
        }

    @classmethod
    def read(cls, message: dict[str, Any], preprocessing: Preprocessing, schema: bytes) -> Signature:
        """Of what `message` gave, and an Arrow schema.

        Raises ModelError if they are none.
        """
        try:
            columns = pa.ipc.read_schema(pa.BufferReader(schema))
            task, absent = message["task"], tuple(message["absent"])
            if task not in TASKS or not all(isinstance(name, str) for name in absent):
                raise ValueError(f"the task {task!r}")
            return cls(preprocessing, columns, absent, task, bool(message["boolean"]))
        except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(f"the model's description cannot be read: {error}") from None


def signature_of(placed: Placed, loss: str | None, data: dict[str, Any]) -> Signature:
    """Of a model trained on this dataset by the message `data`, of which an ablation may have left out
    columns.

    Raises DataError if the driver or an executor cannot tell.
    """
    preprocessing = placed.learned(loss, data)
    columns, absent = placed.raw(preprocessing.inputs)
    kind = placed.label_type()
    return Signature(
        preprocessing, columns, absent, _task(loss, kind), kind is not None and pa.types.is_boolean(kind)
    )


def _task(loss: str | None, label: pa.DataType | None) -> str:
    if loss is not None:
        return _OF_LOSS[loss]
    if label is None:
        return "output"
    classes = pa.types.is_integer(label) or pa.types.is_boolean(label) or is_string(label)
    return "classification" if classes else "regression"
