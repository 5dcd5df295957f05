"""Predictions of Spark DataFrames, classic and Connect, by the executors' Python workers."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from lethe.dataset.source import arrays, is_vector, spark_types
from lethe.errors import DataError
from lethe.saved.outputs import Wanted, fields
from lethe.saved.predictor import Predictor
from lethe.saved.program import Shipped
from lethe.saved.rows import check
from lethe.session import interpreter
from lethe.session.find import session_of

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

Batches = Iterator[pa.RecordBatch]
#: Sessions whose executors have what it takes, by their keys.
_checked: set[str] = set()
#: What has been sent: sessions' keys and files.
_sent: set[tuple[str, str]] = set()
#: Weights that a plan of Spark Connect may hold.
PLAN_BYTES = 8 << 20


def predicted(predictor: Predictor, frame: DataFrame, wanted: Wanted) -> DataFrame:
    """The frame with the columns of `fields`; nothing is computed yet. ML vectors that the model reads become
    arrays.

    Raises DataError if a column is missing or of another type; InstallError if the executors' interpreter
    lacks a package.
    """
    from pyspark.sql.pandas.types import from_arrow_type
    from pyspark.sql.types import StructType

    names = frame.columns
    wanted.check_free(names)
    for name in predictor.signature.columns.names:
        if names.count(name) > 1:
            raise DataError(f"the DataFrame has {names.count(name)} columns {name!r}; rename one of them")
    check(predictor.signature, spark_types(frame))
    _check_workers(frame)
    vectors = [name for name in predictor.signature.columns.names if name in names and is_vector(frame, name)]
    if vectors:
        frame = arrays(frame, vectors)
    # mapInArrow takes neither names with dots nor a name twice.
    called = [f"c{place}" for place in range(len(names))]
    plain = frame.toDF(*called)
    schema = StructType(list(plain.schema.fields))
    for place, field in enumerate(fields(predictor.signature, wanted), start=len(names)):
        schema = schema.add(f"c{place}", from_arrow_type(field.type))
    predictor = _shipped(predictor, frame.sparkSession)
    return plain.mapInArrow(task(predictor, names, wanted), schema).toDF(*names, *wanted.names)


def task(predictor: Predictor, names: list[str], wanted: Wanted) -> Callable[[Batches], Batches]:
    """The function for `mapInArrow`: the model is within it, and each Python worker makes it once.

    names: of the columns that batches have, in order.
    """

    def predict(batches: Batches) -> Batches:
        from lethe.saved.table import with_predictions

        renamed = (batch.rename_columns(names) for batch in batches)
        for batch in with_predictions(predictor, renamed, wanted):
            yield batch.rename_columns([f"c{place}" for place in range(batch.num_columns)])

    return predict


def _shipped(predictor: Predictor, spark: SparkSession) -> Predictor:
    """With its weights on their own way, where the plan is not to hold them. Classic Spark broadcasts large
    functions by itself."""
    content = predictor.program.content
    if isinstance(content, Shipped) or len(content) <= PLAN_BYTES or not _is_connect(spark):
        return predictor
    name = f"lethe-model-{predictor.key}.pt"
    sent = (session_of(spark).key, name)
    if sent not in _sent:
        with tempfile.TemporaryDirectory(prefix="lethe-") as folder:
            path = Path(folder) / name
            path.write_bytes(content)
            spark.addArtifacts(str(path), file=True)
        _sent.add(sent)
    return replace(predictor, program=replace(predictor.program, content=Shipped(name)))


def _is_connect(spark: SparkSession) -> bool:
    return type(spark).__module__.startswith("pyspark.sql.connect")


def _check_workers(frame: DataFrame) -> None:
    """Once a session: where the executors are elsewhere it takes a small job."""
    session = session_of(frame.sparkSession)
    if session.key not in _checked:
        interpreter.check(session, ("lethe", "pyarrow", "torch"))
        _checked.add(session.key)
