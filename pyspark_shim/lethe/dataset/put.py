"""Puts a dataset's partitions on the executors, once per application."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from lethe import flight
from lethe.application.application import Application, Stored
from lethe.dataset.columns import width
from lethe.dataset.frame import frame_of, reading
from lethe.dataset.source import ArrowSource, Source, SparkSource, TableSource
from lethe.errors import DataError, ExperimentError
from lethe.session.base import Job, Session
from lethe.session.failure import crashed, explain
from lethe.task.put import SCHEMA, fitted, put_partition, put_task

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

#: Partitions that an Arrow table is put in.
LOCAL_PARTITIONS = 4
#: How often a put is run again whose executor or Python worker died.
RETRIES = 3


#: Is shown each Spark job before it is waited for, so that it can be cancelled.
Started = Callable[[Job], None]


def stored(application: Application, source: Source, started: Started = lambda job: None) -> Stored:
    """The dataset as it lies on the executors; puts it if it does not yet.

    Raises DataError if Spark cannot compute it or it has no rows.
    """
    known = application.stored.get(source.name)
    if known is not None:
        if not _all_lost(application, source) or put_again(application, source, started) is None:
            return known
        # What was computed again is not what it was.
        _renew(application, source)
    try:
        if application.session is not None:
            assert isinstance(source, TableSource)
            parts = _put_from_spark(application, application.session, source, started)
        elif isinstance(source, ArrowSource):
            application.peer.call("dataset.create", {"dataset": source.name})
            parts = _put_from_here(application, source)
        else:
            raise DataError(
                "a Spark DataFrame cannot be put without its session; leave out spark=False, "
                "or use lethe.Dataset.from_arrow(df.toArrow(), …)"
            )
        return _sealed(application, source, parts)
    except BaseException:
        _renew(application, source)
        raise


def _all_lost(application: Application, source: Source) -> bool:
    """Whether no executor holds any of its rows: nothing would tell what they look like. Where some are held,
    the experiment's own slots find out what they lack, and have it put again."""
    try:
        located = application.peer.call("dataset.locate", {"dataset": source.name})["partitions"]
    except flight.FAILED as error:
        raise DataError(f"the dataset could not be located: {flight.reason(error)}") from None
    return not any(part["locations"] for part in located if part["rows"])


def _renew(application: Application, source: Source) -> None:
    """A put that was broken off looks complete to its executor: the next one starts afresh, and what lies
    there of this one makes room."""
    with contextlib.suppress(*flight.FAILED):
        application.peer.call("dataset.drop", {"dataset": source.name})
    source.renew()


def put_again(application: Application, source: Source, started: Started) -> str | None:
    """Puts the partitions again that no executor holds any more, under the same name. Says why that cannot
    be: what was computed again is not what it was.

    Raises DataError or ExperimentError if it cannot be computed.
    """
    for _ in range(RETRIES + 1):
        located = application.peer.call("dataset.locate", {"dataset": source.name})["partitions"]
        missing = frozenset(part["partition"] for part in located if not part["locations"])
        if not missing:
            return None
        if application.session is None:
            assert isinstance(source, ArrowSource)
            rows = _put_from_here(application, source, missing)
        else:
            assert isinstance(source, TableSource)
            frame = _frame_of(application.session, source)
            rows = _run(application, application.session, source, frame, missing, started) or []
        if rows and len(rows) != len(located):
            return f"it has {len(rows)} partitions now, and had {len(located)}"
        refused = next((row for row in rows if row["error"] is not None and not row["lost"]), None)
        if refused is not None:
            return str(refused["error"])
    raise ExperimentError(f"partitions were lost again and again while they were put ({RETRIES + 1} tries)")


def _frame_of(session: Session, source: TableSource) -> DataFrame:
    """What the tasks of `_run` read. Arrow tables go through Spark too: its tasks are where the slots are."""
    if isinstance(source, ArrowSource):
        return frame_of(session.spark, source.table)
    assert isinstance(source, SparkSource)
    columns = [source.frame["`" + column.replace("`", "``") + "`"] for column in source.columns]
    return source.frame.select(*columns)


def _put_from_spark(
    application: Application, session: Session, source: TableSource, started: Started
) -> list[dict[str, Any]]:
    frame = _frame_of(session, source)
    for attempt in range(RETRIES + 1):
        if attempt:
            _renew(application, source)
        application.peer.call("dataset.create", {"dataset": source.name})
        rows = _run(application, session, source, frame, None, started, last=attempt == RETRIES)
        if rows is None:
            continue
        failed = [row for row in rows if row["error"] is not None]
        if not failed:
            return rows
        if attempt == RETRIES or not all(row["lost"] for row in failed):
            worst = next((row for row in failed if not row["lost"]), failed[0])
            raise ExperimentError(f"partition {worst['partition']} was not put: {worst['error']}")
    raise ExperimentError(f"the dataset was not put in {RETRIES + 1} tries")


def _run(
    application: Application,
    session: Session,
    source: TableSource,
    frame: DataFrame,
    only: frozenset[int] | None,
    started: Started,
    *,
    last: bool = False,
) -> list[dict[str, Any]] | None:
    """One job that puts all partitions, or those of `only`. None if its executor or Python worker died and
    another may do better.

    Raises what Spark said if it cannot compute the DataFrame.
    """
    task = put_task(application.request, source.name, source.schema, source.features, only)
    if isinstance(source, ArrowSource):
        task = reading(task)
    job = Job(
        session,
        f"lethe-put-{secrets.token_hex(6)}",
        "lethe: put a dataset on the executors",
        lambda: frame.mapInArrow(task, SCHEMA).collect(),
    ).start()
    started(job)
    try:
        return [row.asDict() for row in job.result()]
    except Exception as error:
        if crashed(error) and not last:
            return None
        raise explain(error, session, "compute the dataset") from None


def _put_from_here(
    application: Application, source: ArrowSource, only: frozenset[int] | None = None
) -> list[dict[str, Any]]:
    table, schema = source.table, source.schema
    partitions = max(1, min(LOCAL_PARTITIONS, table.num_rows))
    bounds = [table.num_rows * i // partitions for i in range(partitions + 1)]
    parts: list[dict[str, Any]] = []
    for number in range(partitions):
        if only is not None and number not in only:
            parts.append({"partition": number, "rows": 0, "address": None, "width": None, "error": None})
            continue
        piece = table.slice(bounds[number], bounds[number + 1] - bounds[number])
        batches: Iterator[pa.RecordBatch] = (fitted(batch, schema) for batch in piece.to_batches())
        first = next(
            (width(schema, source.features, batch) for batch in piece.to_batches() if batch.num_rows), None
        )
        try:
            rows, address = put_partition(
                application.request, application.local_place(), source.name, number, schema, batches
            )
        except flight.FAILED as error:
            raise ExperimentError(f"partition {number} was not put: {flight.reason(error)}") from None
        parts.append({"partition": number, "rows": rows, "address": address, "width": first, "error": None})
    return parts


def _sealed(application: Application, source: Source, parts: list[dict[str, Any]]) -> Stored:
    rows = sum(part["rows"] for part in parts)
    if rows == 0:
        raise DataError("the dataset has zero rows; look at its filters and joins: df.count()")
    widths = sorted({part["width"] for part in parts if part["width"] is not None})
    if len(widths) > 1:
        raise DataError(
            f"rows of {', '.join(source.features)} have {widths[0]} to {widths[-1]} features; make all "
            "arrays equally long"
        )
    if not widths:
        raise DataError(f"the first rows of {', '.join(source.features)} are null; drop nulls: df.dropna()")
    application.peer.call("dataset.seal", {"dataset": source.name, "partitions": len(parts)})
    located = application.peer.call("dataset.locate", {"dataset": source.name})
    held = {part["partition"]: part["rows"] for part in located["partitions"]}
    short = [part["partition"] for part in parts if held.get(part["partition"]) != part["rows"]]
    if short:
        raise ExperimentError(
            f"partition {short[0]} arrived incomplete, its task was broken off; run lagom again"
        )
    found = Stored(source.name, rows, widths[0])
    application.stored[source.name] = found
    return found
