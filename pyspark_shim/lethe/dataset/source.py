"""Where a dataset's rows come from."""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from lethe.dataset.columns import check_exists, check_feature, stored_type
from lethe.errors import DataError
from lethe.session.base import Session
from lethe.session.find import session_of

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


class Source(ABC):
    """Columns of a table: the features in order, then the label.

    schema: as they are put. kinds: as the user has them.
    """

    def __init__(self, features: str | Sequence[str], label: str | None) -> None:
        self.features = (features,) if isinstance(features, str) else tuple(features)
        if not self.features:
            raise DataError("features names no column; name at least one")
        repeated = {name for name in self.features if self.features.count(name) > 1 or name == label}
        if repeated:
            raise DataError(
                f"the column {sorted(repeated)[0]!r} is named twice in features and label; name it once"
            )
        self.label = label
        self.name = ""
        self.renew()
        self.kinds: dict[str, pa.DataType] = {}

    def renew(self) -> None:
        """A new name: what lies on executors under the old one counts no longer."""
        self.name = f"data-{secrets.token_hex(6)}"

    @property
    def columns(self) -> list[str]:
        return [*self.features, *([self.label] if self.label is not None else [])]

    @property
    def schema(self) -> pa.Schema:
        return pa.schema([pa.field(name, stored_type(self.kinds[name])) for name in self.columns])

    def label_type(self) -> pa.DataType | None:
        return None if self.label is None else self.kinds[self.label]

    @abstractmethod
    def session(self) -> Session | None:
        """The Spark session that must compute it; None if it can be put from anywhere."""


class SparkSource(Source):
    """A Spark DataFrame."""

    def __init__(self, frame: DataFrame, features: str | Sequence[str], label: str | None) -> None:
        super().__init__(features, label)
        self.frame = frame
        fields = {field.name: field.dataType for field in frame.schema.fields}
        for name in self.columns:
            check_exists(name, list(fields))
            self.kinds[name] = _arrow_type(name, fields[name])
        for name in self.features:
            check_feature(name, self.kinds[name])

    def session(self) -> Session:
        return session_of(self.frame.sparkSession)


def _arrow_type(name: str, kind: Any) -> pa.DataType:
    from pyspark.errors import PySparkException
    from pyspark.sql.pandas.types import to_arrow_type

    if type(kind).__name__ == "VectorUDT":
        raise DataError(
            f"the column {name!r} is an ML vector; turn it into an array: "
            f'df.withColumn("{name}", pyspark.ml.functions.vector_to_array("{name}", "float32"))'
        )
    try:
        return to_arrow_type(kind)
    except PySparkException:
        raise DataError(
            f"the column {name!r} has type {kind.simpleString()}, which is not a number or an array of "
            "numbers; "
            "cast it or leave it out"
        ) from None


class ArrowSource(Source):
    """An Arrow table in this process."""

    def __init__(self, table: pa.Table, features: str | Sequence[str], label: str | None) -> None:
        super().__init__(features, label)
        if not isinstance(table, pa.Table):
            raise DataError(
                f"Dataset.from_arrow takes a pyarrow.Table, not {type(table).__name__}; "
                "from pandas: pyarrow.Table.from_pandas(frame)"
            )
        for name in self.columns:
            check_exists(name, table.column_names)
            self.kinds[name] = table.schema.field(name).type
        for name in self.features:
            check_feature(name, self.kinds[name])
        self.table = table.select(self.columns)

    def session(self) -> None:
        return None
