"""`lethe.Preprocessing`: what raw rows need before a trained model gets them, learned from training rows."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from lethe.dataset.arrow import as_table
from lethe.dataset.columns import check_exists, element, is_string, is_time
from lethe.errors import DataError, InstallError

if TYPE_CHECKING:
    import numpy as np

FORMAT = 1
#: Its file in an experiment's folder.
PREPROCESSING = "preprocessing.json"


@dataclass(frozen=True)
class Preprocessing:
    """Carried with a model, so that it can be used on raw rows; needs no running process.

    inputs: of the model, in order: name, columns, dtype, shape of one row, normalize.
    label: the label's column; `classes` are its names where it was strings.
    means, deviations: by column, of each element, over the training rows; a deviation is 1 where all values
        were equal.
    categories: by column, in the order of their numbers.
    fill, dates: values for nulls by column, and columns that become numbers.
    queries: those of `sql` and `with_column`, in DataFusion's SQL; what `filter` and `drop=` left out of
        training is not left out here.
    """

    inputs: list[dict[str, Any]]
    label: str | None = None
    means: dict[str, list[float]] = field(default_factory=dict)
    deviations: dict[str, list[float]] = field(default_factory=dict)
    categories: dict[str, list[str]] = field(default_factory=dict)
    fill: dict[str, Any] = field(default_factory=dict)
    dates: list[str] = field(default_factory=list)
    queries: list[str] = field(default_factory=list)

    @property
    def classes(self) -> list[str] | None:
        """The names of the classes 0, 1, …; None where the label was numbers."""
        return None if self.label is None else self.categories.get(self.label)

    def apply(self, rows: Any, *, unknown: int | None = None, form: str = "numpy") -> dict[str, Any]:
        """The model's inputs, by name, `[rows, *shape]`: one for each row, in their order.

            features = preprocessing.apply(frame, form="torch")["features"]

        rows: a table of pyarrow, pandas, polars, or with Arrow's PyCapsule interface, that has the columns of
            the dataset; a label is not needed.
        unknown: the number for categories that training did not have. None: such a row is an error.
        form: "numpy" or "torch".

        Raises DataError, which names the column that is missing, has nulls, or other values than before;
        InstallError if there are queries and the package `datafusion` is missing.
        """
        if form not in ("numpy", "torch"):
            raise DataError(f'Preprocessing.apply: form must be "numpy" or "torch", not {form!r}')
        table = self._queried(self._cleaned(as_table(rows, "Preprocessing.apply")))
        found = {one["name"]: self._input(one, table, unknown) for one in self.inputs}
        if form == "numpy":
            return found
        import torch

        return {name: torch.from_numpy(values) for name, values in found.items()}

    def _cleaned(self, table: pa.Table) -> pa.Table:
        for name in self.dates:
            if name in table.column_names:
                table = _with(table, name, _as_number(table.column(name)))
        for name, value in self.fill.items():
            if name in table.column_names:
                column = table.column(name)
                table = _with(table, name, pc.fill_null(column, pa.scalar(value).cast(column.type)))
        return table

    def _queried(self, table: pa.Table) -> pa.Table:
        if not self.queries:
            return table
        try:
            import datafusion
        except ImportError:
            raise InstallError(
                "the dataset has queries, which the package datafusion runs on raw rows; install it: pip "
                "install datafusion"
            ) from None
        for query in self.queries:
            # With more partitions than one, no order of rows is promised.
            context = datafusion.SessionContext(datafusion.SessionConfig().with_target_partitions(1))
            context.register_record_batches("dataset", [table.combine_chunks().to_batches()])
            try:
                table = pa.table(context.sql(query))
            except Exception as error:
                raise DataError(f"the query {query!r} failed on these rows: {error}") from None
        return table

    def _input(self, one: dict[str, Any], table: pa.Table, unknown: int | None) -> np.ndarray[Any, Any]:
        import numpy as np

        for name in one["columns"]:
            check_exists(name, table.column_names)
        pieces = [self._column(name, table.column(name), one, unknown) for name in one["columns"]]
        joined = pieces[0] if len(pieces) == 1 else np.concatenate(pieces, axis=1)
        shape = [table.num_rows, *one["shape"]]
        if joined.size != np.prod(shape, dtype=np.int64):
            raise DataError(
                f"the input {one['name']!r} needs {np.prod(one['shape'], dtype=np.int64)} numbers a row, and "
                f"these rows have {joined.shape[1]}"
            )
        return np.array(joined.reshape(shape), dtype=one["dtype"], order="C")

    def _column(
        self, name: str, column: pa.ChunkedArray, one: dict[str, Any], unknown: int | None
    ) -> np.ndarray[Any, Any]:
        """`[rows, elements]`."""
        import numpy as np

        nulls = column.null_count
        if nulls:
            raise DataError(f"the column {name!r} has {nulls} nulls; fill them, or leave those rows out")
        if name in self.categories:
            return self._codes(name, column, unknown).reshape(-1, 1)
        values = _flat(name, column)
        if name not in one["normalize"]:
            return values
        # As the executors do it, to the bit: from float32, in float64.
        exact = values.astype(np.float32).astype(np.float64)
        scaled: np.ndarray[Any, Any] = (exact - np.array(self.means[name])) / np.array(self.deviations[name])
        return scaled.astype(np.float32)

    def _codes(self, name: str, column: pa.ChunkedArray, unknown: int | None) -> np.ndarray[Any, Any]:
        if not is_string(column.type):
            raise DataError(f"the column {name!r} was strings in training and is {column.type} here; cast it")
        strings = column.cast(pa.string())
        found = pc.index_in(strings, value_set=pa.array(self.categories[name], pa.string()))
        if found.null_count and unknown is None:
            strange = strings.filter(pc.is_null(found))[0].as_py()
            raise DataError(
                f"the column {name!r} has the category {strange!r}, which training did not have; give such "
                "rows a number: unknown=-1"
            )
        codes: np.ndarray[Any, Any] = pc.fill_null(found.cast(pa.int64()), unknown or 0).to_numpy()
        return codes

    def save(self, path: str | os.PathLike[str]) -> str:
        """Saves it as JSON, complete or not at all; returns the path."""
        final = Path(path)
        unfinished = final.with_suffix(final.suffix + ".unfinished")
        unfinished.write_text(self.text())
        return str(unfinished.replace(final))

    def text(self) -> str:
        """It as JSON."""
        return json.dumps({"format": FORMAT, **asdict(self)}, ensure_ascii=False, indent=1) + "\n"

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Preprocessing:
        """What `save` wrote.

        Raises DataError if it is not.
        """
        try:
            return cls.parse(Path(path).read_text())
        except (OSError, ValueError) as error:
            raise DataError(f"{os.fspath(path)} is no saved Preprocessing: {error}") from None

    @classmethod
    def parse(cls, text: str) -> Preprocessing:
        """Of `text()`.

        Raises ValueError if it is not.
        """
        try:
            found = json.loads(text)
            if found.pop("format") != FORMAT:
                raise ValueError("of another format")
            return cls(**found)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(str(error)) from None

    def __repr__(self) -> str:
        inputs = ", ".join(f"{one['name']}{one['shape']}" for one in self.inputs)
        return f"Preprocessing({inputs}; normalized: {list(self.means)}, categories: {list(self.categories)})"


def learned(table: pa.Table) -> dict[str, dict[str, list[Any]]]:
    """Means, deviations and categories by column, from the rows of `Ticket::Preprocessing`."""
    found: dict[str, dict[str, dict[int, Any]]] = {"mean": {}, "deviation": {}, "category": {}}
    # A column of several inputs comes with each of them.
    for row in sorted(table.to_pylist(), key=lambda row: int(row["index"])):
        value = row["text"] if row["kind"] == "category" else row["number"]
        found[row["kind"]].setdefault(row["column"], {})[row["index"]] = value
    names = {"mean": "means", "deviation": "deviations", "category": "categories"}
    return {
        names[kind]: {column: list(values.values()) for column, values in columns.items()}
        for kind, columns in found.items()
    }


def _with(table: pa.Table, name: str, column: Any) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, column)


def _as_number(column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = column.type
    if not is_time(kind):
        return column
    if pa.types.is_date(kind):
        return column.cast(pa.date32()).cast(pa.int32())
    return column.cast(pa.timestamp("s", kind.tz), safe=False).cast(pa.int64())


def _flat(name: str, column: pa.ChunkedArray) -> np.ndarray[Any, Any]:
    """All elements of a column of numbers or (nested) arrays, `[rows, elements]`."""
    inner, depth = element(column.type)
    rows, values = len(column), column.combine_chunks()
    if isinstance(values, pa.ChunkedArray):
        values = pa.concat_arrays(values.chunks)
    for _ in range(depth):
        lengths: Sequence[int] = pc.unique(pc.list_value_length(values)).to_pylist()
        if len(lengths) > 1:
            raise DataError(
                f"the column {name!r} has arrays of {min(lengths)} to {max(lengths)} elements; make all "
                "equally long"
            )
        values = values.flatten()
    if values.null_count:
        raise DataError(f"the arrays of column {name!r} have {values.null_count} nulls; fill them")
    if pa.types.is_decimal(inner):
        values = values.cast(pa.float64())
    elif not (pa.types.is_integer(inner) or pa.types.is_floating(inner) or pa.types.is_boolean(inner)):
        raise DataError(f"the column {name!r} has type {column.type}, which is not numbers; cast it")
    found: np.ndarray[Any, Any] = values.to_numpy(zero_copy_only=False)
    return found.reshape(rows, -1) if rows else found.reshape(0, 1)
