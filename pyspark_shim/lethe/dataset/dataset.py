"""`lethe.Dataset`: rows, which columns are features and label, and how rows are split and ordered."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from lethe import flight
from lethe.application.application import Application, Stored
from lethe.application.registry import application, running
from lethe.dataset.arrow import as_table
from lethe.dataset.clean import clean_of
from lethe.dataset.files import FilesOrigin, files_source
from lethe.dataset.inputs import Features, Inputs, columns_of, inputs_of, unnamed
from lethe.dataset.part import Parts, Reading
from lethe.dataset.placed import Placed
from lethe.dataset.preprocessing import Preprocessing
from lethe.dataset.recipe import Compiled, Recipe, compiled
from lethe.dataset.schema import Unknown
from lethe.dataset.source import Origin, Source, Table
from lethe.dataset.transforms import Transforms
from lethe.errors import DataError
from lethe.session.base import Session
from lethe.session.find import active_session

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


class Dataset(Transforms, Parts):
    """Features and a label, as columns of a table, and how rows are split.

    It never changes: each method that transforms it gives another, and all share the rows. Those of Spark and
    of Arrow tables are put on the executors when they are first used, once per Spark session, and only the
    columns that are needed; files are read by the executors themselves.
    """

    #: Outside of a trial.
    reading = Reading()

    def __init__(self, origin: Origin, recipe: Recipe) -> None:
        self._origin, self._recipe = origin, recipe
        self._known()

    @classmethod
    def from_spark(
        cls,
        df: DataFrame,
        features: Features | None = None,
        label: str | None = None,
        *,
        weight: str | None = None,
        key: str | None = None,
        fill: Any = None,
        drop: bool | str | Sequence[str] | None = None,
        dates: str | None = None,
    ) -> Dataset:
        """Columns of a Spark DataFrame, classic or Connect.

        features: a column, or several in order: together they are one row of the float32 tensor
            `[rows, inputs]` that modules get; or several tensors by name,
            `{"image": lethe.Input("pixels", shape=(1, 8, 8)), "facts": ["age", "city"]}`, for the arguments
            of `forward` in order. Columns are numbers, booleans, strings (as categories), arrays of numbers,
            nested ones too, or ML vectors. None: all columns but label, weight and key.
        label: a column of numbers; for classes whole numbers from 0, booleans or strings.
        weight: a column of numbers from 0: what each row's loss counts.
        key: a column without repeated values: split and batches follow it, not Spark's partitioning.
        fill: for nulls: a value for all features of its type, or values by column.
        drop: leaves out rows with nulls: True for all columns used, or the columns.
        dates: "number" takes dates as days, times as seconds since 1970.

        Raises DataError if a column does not exist or its type cannot be trained on.
        """
        if not type(df).__module__.startswith("pyspark.sql"):
            raise DataError(
                f"Dataset.from_spark takes a Spark DataFrame, not {type(df).__name__}; see Dataset.from_arrow"
            )
        return cls(Table(df), _recipe(features, label, weight, key, fill, drop, dates))

    @classmethod
    def from_arrow(
        cls,
        data: Any,
        features: Features | None = None,
        label: str | None = None,
        *,
        weight: str | None = None,
        key: str | None = None,
        fill: Any = None,
        drop: bool | str | Sequence[str] | None = None,
        dates: str | None = None,
    ) -> Dataset:
        """Columns of a table in this process: of pyarrow, pandas, polars, or whatever has Arrow's PyCapsule
        interface; see `from_spark`."""
        return cls(Table(as_table(data)), _recipe(features, label, weight, key, fill, drop, dates))

    @classmethod
    def from_files(
        cls,
        urls: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        features: Features | None = None,
        label: str | None = None,
        *,
        format: str | None = None,
        options: Mapping[str, str] | None = None,
        spark: SparkSession | None = None,
        weight: str | None = None,
        key: str | None = None,
        fill: Any = None,
        drop: bool | str | Sequence[str] | None = None,
        dates: str | None = None,
    ) -> Dataset:
        """Columns of Parquet, CSV, JSON or Arrow IPC files, which executors read themselves; see `from_spark`
        for the others.

        urls: files, folders or patterns: "s3://bucket/folder/*.parquet", "gs://…", "az://…", "https://…",
            "hdfs://…", or paths that all executors see. Folders named `day=2026-01-01` give a column.
        format: "parquet", "csv" (with a header), "json" (an object a line) or "arrow". None: by the names'
            ending.
        options: of the store, by the names of the crate object_store ("aws_endpoint", …), beside those in the
            environment and, for s3:// and s3a://, the session's `spark.hadoop.fs.s3a.*`. Written nowhere.
        spark: whose settings these are; None: the active session.

        That there are files, and which columns they have, is looked at when the dataset is first used.
        """
        files = files_source(urls, format, options, spark)
        return cls(FilesOrigin(files), _recipe(features, label, weight, key, fill, drop, dates))

    # What there is.

    @property
    def features(self) -> tuple[str, ...]:
        """The columns of all inputs. Where they are those of files or of a query that nobody has named, the
        driver is asked."""
        return tuple(columns_of((self._known() or self.on().compiled()).inputs))

    @property
    def columns(self) -> list[str]:
        """The table's columns after all queries; the driver may be asked."""
        return self._columns()

    @property
    def label(self) -> str | None:
        return self._recipe.label

    def preprocessing(self) -> Preprocessing:
        """What raw rows need before a model trained on this dataset gets them; see `Preprocessing`."""
        return self.on().learned(None)

    def unpersist(self) -> None:
        """Gives back what executors hold of its rows, and of all datasets that were made from the same one.
        They are put again when they are next used."""
        for source in self._origin.sources:
            for owner in running():
                if owner.stored.pop(source.name, None) is None:
                    continue
                try:
                    owner.peer.call("dataset.drop", {"dataset": source.name})
                except flight.FAILED as error:
                    raise DataError(f"the dataset could not be dropped: {flight.reason(error)}") from None
            source.renew()

    def __repr__(self) -> str:
        recipe = self._recipe
        inputs: Any = "all others" if recipe.inputs is None else columns_of(recipe.inputs)
        if recipe.inputs is not None and not unnamed(recipe.inputs):
            inputs = {name: list(one.columns) for name, one in recipe.inputs.items()}
        split = "" if recipe.split is None else f", {recipe.split}"
        queries = f", {len(recipe.queries)} queries" if recipe.queries else ""
        return f"Dataset(features={inputs}, label={self.label!r}{split}{queries})"

    # What experiments need of it.

    @property
    def inputs(self) -> Inputs | None:
        """By name; None: the one of all columns that serve nothing else."""
        return self._recipe.inputs

    @property
    def source(self) -> Source:
        """What executors have, or are given, of its rows."""
        return self._origin.source(self._recipe.needed(self._origin.kinds or ()))

    def session(self) -> Session | None:
        """The Spark session that must compute it; None if it can be read from anywhere."""
        return self._origin.session()

    @property
    def has_validation(self) -> bool:
        return self._recipe.split is not None and self._recipe.split.validates

    @property
    def has_test(self) -> bool:
        return self._recipe.split is not None and self._recipe.split.tests

    def label_type(self) -> pa.DataType | None:
        """Where it is known without asking the driver."""
        known = self._known()
        return None if self.label is None or known is None else known.columns.known(self.label)

    def stored(self, owner: Application) -> Stored:
        """Puts it if need be."""
        return self.on(owner).stored()

    def on(self, owner: Application | None = None) -> Placed:
        """As this application has it: by default that of its session, or of the active one."""
        return Placed(
            self._origin, self._recipe, owner or application(self._origin.session() or active_session())
        )

    def _columns(self) -> list[str]:
        try:
            return compiled(self._recipe, self._origin.kinds, None).columns.names()
        except Unknown:
            return self.on().compiled().columns.names()

    def _known(self) -> Compiled | None:
        """What can be said without asking the driver."""
        try:
            return compiled(self._recipe, self._origin.kinds, None)
        except Unknown:
            return None

    def _with(self, **changes: Any) -> Dataset:
        return Dataset(self._origin, replace(self._recipe, **changes))


def _recipe(
    features: Features | None,
    label: str | None,
    weight: str | None,
    key: str | None,
    fill: Any,
    drop: bool | str | Sequence[str] | None,
    dates: str | None,
) -> Recipe:
    inputs = None if features is None else inputs_of(features)
    for name, column in (("label", label), ("weight", weight), ("key", key)):
        if column is not None and not isinstance(column, str):
            raise DataError(f"{name} must be the name of a column, not {column!r}")
    clean = clean_of(inputs, label, weight, key, fill, drop, dates)
    return Recipe(inputs, clean, label, weight, key)
