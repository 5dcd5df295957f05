"""Predictions of raw rows, anywhere: what `predict` does in this process and in tasks of Spark."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from lethe.errors import DataError, InstallError
from lethe.saved.outputs import Wanted, arrays, fields
from lethe.saved.program import Generated, Scripted, apply
from lethe.saved.rows import fitted, pieces
from lethe.saved.signature import Signature

#: Modules that a process keeps; an interpreter of Spark serves one task after another.
KEPT = 4
_modules: OrderedDict[str, Any] = OrderedDict()


@dataclass(frozen=True)
class Predictor:
    """key: tells models apart. program: may be large; it travels to Spark's tasks within the function."""

    key: str
    program: Scripted | Generated
    signature: Signature

    def module(self) -> Any:
        """The process's own, made once.

        Raises InstallError where there is no torch; ModelError if it cannot be loaded.
        """
        found = _modules.pop(self.key, None)
        if found is None:
            _check_torch()
            found = self.program.module()
        _modules[self.key] = found
        while len(_modules) > KEPT:
            _modules.popitem(last=False)
        return found

    def columns(self, table: pa.Table, wanted: Wanted) -> Iterator[tuple[pa.Table, list[pa.Array]]]:
        """Pieces of the table, and the columns that they get. It needs only the model's columns.

        Raises DataError, which names a column, or ModelError.
        """
        module = self.module()
        for piece in pieces(table, wanted.batch_size):
            yield piece, self._piece(module, piece, wanted)

    def _piece(self, module: Any, piece: pa.Table, wanted: Wanted) -> list[pa.Array]:
        if not piece.num_rows:
            return [pa.array([], field.type) for field in fields(self.signature, wanted)]
        preprocessing = self.signature.preprocessing
        inputs = preprocessing.apply(fitted(self.signature, piece), unknown=wanted.unknown, form="torch")
        left = next(iter(inputs.values())).shape[0]
        if left != piece.num_rows:
            raise DataError(
                f"the dataset's queries make {left} rows of {piece.num_rows}, and predict needs one for "
                "each; choose training rows by dataset.filter(…), which is not applied here"
            )
        return arrays(apply(module, inputs), self.signature, wanted)


def _check_torch() -> None:
    import sys

    try:
        import torch  # noqa: F401
    except (ImportError, OSError) as error:
        raise InstallError(
            f"predict runs the model in Python, and {sys.executable} has no torch ({error}): for it "
            "libtorch's libraries, which suffice to train, do not suffice; run: pip install lethe[torch]"
        ) from None
