"""Where a dataset's rows come from: tables, and the columns of them that are put on the executors."""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from lethe.dataset.columns import can_be_put, check_exists, stored_type
from lethe.session.base import Session
from lethe.session.find import session_of

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


class Source(ABC):
    """Rows that executors have, or can be given, under a name.

    kinds: types of the columns, in the table's order.
    """

    kinds: dict[str, pa.DataType]
    features: tuple[str, ...] = ()
    label: str | None = None

    def __init__(self) -> None:
        self.name = ""
        self.renew()

    def renew(self) -> None:
        """A new name: what lies on executors under the old one counts no longer."""
        self.name = f"data-{secrets.token_hex(6)}"

    @property
    def columns(self) -> list[str]:
        return list(self.kinds)

    @abstractmethod
    def session(self) -> Session | None:
        """The Spark session that must compute it; None if it can be read from anywhere."""


class TableSource(Source):
    """Columns of a table that are put: features, then label.

    schema: as they are put. kinds: as the user has them.
    """

    def __init__(
        self, types: dict[str, pa.DataType], features: str | Sequence[str], label: str | None
    ) -> None:
        super().__init__()
        self.features = (features,) if isinstance(features, str) else tuple(features)
        self.label = label
        self.kinds = {}
        for name in [*self.features, *([] if label is None else [label])]:
            check_exists(name, list(types))
            self.kinds[name] = types[name]

    @property
    def schema(self) -> pa.Schema:
        return pa.schema([pa.field(name, stored_type(kind)) for name, kind in self.kinds.items()])


class SparkSource(TableSource):
    """A Spark DataFrame. Its ML vectors are put as arrays of float32.

    columns: as they are called in `frame`: `mapInArrow` cannot take names with dots.
    """

    def __init__(self, frame: DataFrame, features: str | Sequence[str], label: str | None = None) -> None:
        super().__init__(spark_types(frame), features, label)
        vectors = [name for name in self.kinds if is_vector(frame, name)]
        self.frame = arrays(frame, vectors) if vectors else frame
        self._called = list(self.kinds)
        if any("." in name or "`" in name for name in self.kinds):
            self._called = [f"c{place}" for place in range(len(self.kinds))]
            names = zip(self.kinds, self._called, strict=True)
            self.frame = self.frame.select(*(column(self.frame, name).alias(new) for name, new in names))

    @property
    def columns(self) -> list[str]:
        return self._called

    def session(self) -> Session:
        return session_of(self.frame.sparkSession)


class ArrowSource(TableSource):
    """An Arrow table in this process."""

    def __init__(self, table: pa.Table, features: str | Sequence[str], label: str | None = None) -> None:
        super().__init__(arrow_types(table), features, label)
        self.table = table.select(self.columns)

    def session(self) -> None:
        return None


class Origin(ABC):
    """A table of which datasets take columns. What was put for one serves all that need no more of it.

    kinds: types of all columns; None until they have been asked for, which only files need.
    answers: columns that chains of queries find, by the dataset's name and the queries, once asked for.
    """

    kinds: dict[str, pa.DataType] | None

    def __init__(self) -> None:
        self.answers: dict[tuple[str, ...], dict[str, pa.DataType]] = {}

    @property
    @abstractmethod
    def sources(self) -> list[Source]:
        """What has been put of it, or may have been."""

    @abstractmethod
    def source(self, needed: Iterable[str]) -> Source:
        """What holds at least these columns."""

    @abstractmethod
    def session(self) -> Session | None:
        """The Spark session that must compute it; None if it can be read from anywhere."""


class Table(Origin):
    """A Spark DataFrame, or an Arrow table in this process."""

    kinds: dict[str, pa.DataType]

    def __init__(self, table: DataFrame | pa.Table) -> None:
        super().__init__()
        self._table, self._spark = table, not isinstance(table, pa.Table)
        self.kinds = spark_types(table) if self._spark else arrow_types(table)
        self._sources: list[Source] = []

    def session(self) -> Session | None:
        return session_of(self._table.sparkSession) if self._spark else None

    @property
    def sources(self) -> list[Source]:
        return self._sources

    def source(self, needed: Iterable[str]) -> Source:
        wanted = {name for name in needed if can_be_put(self.kinds[name])}
        for found in self._sources:
            if wanted <= found.kinds.keys():
                return found
        columns = [name for name in self.kinds if name in wanted]
        self._sources.append((SparkSource if self._spark else ArrowSource)(self._table, columns))
        return self._sources[-1]


def arrow_types(table: pa.Table) -> dict[str, pa.DataType]:
    return {field.name: field.type for field in table.schema}


def spark_types(frame: DataFrame) -> dict[str, pa.DataType]:
    """As Arrow has them; `null` for those that it cannot carry."""
    from pyspark.errors import PySparkException
    from pyspark.sql.pandas.types import to_arrow_type

    found = {}
    for field in frame.schema.fields:
        if type(field.dataType).__name__ == "VectorUDT":
            found[field.name] = pa.list_(pa.float32())
            continue
        try:
            found[field.name] = to_arrow_type(field.dataType)
        except PySparkException:
            found[field.name] = pa.null()
    return found


def is_vector(frame: DataFrame, name: str) -> bool:
    return type(frame.schema[name].dataType).__name__ == "VectorUDT"


def arrays(frame: DataFrame, vectors: Sequence[str]) -> DataFrame:
    """Its ML vectors, dense or sparse, as arrays of float32."""
    from pyspark.ml.functions import vector_to_array

    return frame.withColumns({name: vector_to_array(column(frame, name), "float32") for name in vectors})


def column(frame: DataFrame, name: str) -> Any:
    """The column of exactly this name, which may have dots."""
    return frame["`" + name.replace("`", "``") + "`"]
