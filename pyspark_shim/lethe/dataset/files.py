"""Files in a store, which executors read themselves, around the JVM."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pyarrow as pa

from lethe import flight
from lethe.application.application import Application, Stored
from lethe.dataset.credentials import S3, s3_options
from lethe.dataset.source import Origin, Source
from lethe.errors import DataError
from lethe.session.find import active_session, session_of

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

FORMATS = ("parquet", "csv", "json", "arrow")
SCHEMES = ("s3", "gs", "az", "abfs", "abfss", "http", "https", "hdfs", "file")


class FilesSource(Source):
    """Files of one format and schema.

    urls: a file, a folder or a pattern each. options: of their store; may hold secrets.
    """

    def __init__(self, urls: tuple[str, ...], format: str | None, options: Mapping[str, str]) -> None:
        super().__init__()
        self.kinds = {}
        self.urls, self.format, self._options = urls, format, dict(options)

    def session(self) -> None:
        return None

    def message(self) -> dict[str, Any]:
        """The message `CreateDataset`."""
        files: dict[str, Any] = {"urls": list(self.urls)}
        if self.format is not None:
            files["format"] = self.format
        if self._options:
            files["options"] = self._options
        return {"dataset": self.name, "files": files}

    def created(self, owner: Application) -> Stored:
        """Names it to the driver, which lists the files; once.

        Raises DataError if there are none, or they cannot be read.
        """
        known = owner.stored.get(self.name)
        if known is not None:
            return known
        try:
            owner.peer.call("dataset.create", self.message())
        except flight.FAILED as error:
            raise DataError(flight.reason(error)) from None
        found = Stored(self.name, rows=0, width=0)
        owner.stored[self.name] = found
        return found

    def __repr__(self) -> str:
        return f"FilesSource({', '.join(self.urls)})"


class FilesOrigin(Origin):
    """kinds: None until the driver has been asked."""

    def __init__(self, files: FilesSource) -> None:
        super().__init__()
        self._files = files
        self.kinds = None

    @property
    def sources(self) -> list[Source]:
        return [self._files]

    def source(self, needed: Iterable[str]) -> FilesSource:
        return self._files

    def session(self) -> None:
        return None

    def ask(self, owner: Application) -> dict[str, pa.DataType]:
        """The columns, of which the driver knows."""
        if self.kinds is None:
            self._files.created(owner)
            try:
                schema = owner.peer.schema({"type": "dataset", "dataset": self._files.name})
            except flight.FAILED as error:
                raise DataError(flight.reason(error)) from None
            self.kinds = {field.name: field.type for field in schema}
        return self.kinds


def files_source(
    urls: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    format: str | None,
    options: Mapping[str, str] | None,
    spark: SparkSession | None,
) -> FilesSource:
    """Raises DataError, which names the argument that is wrong."""
    listed = [urls] if isinstance(urls, str | os.PathLike) else list(urls)
    for url in listed:
        if not isinstance(url, str | os.PathLike):
            raise DataError(f"from_files takes URLs and paths as text, not {url!r}")
    if not listed:
        raise DataError("from_files got no URL; name a file, a folder or a pattern")
    if format is not None and format not in FORMATS:
        raise DataError(f"from_files: format must be one of {', '.join(FORMATS)}, not {format!r}")
    for name, value in (options or {}).items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise DataError(
                f"from_files: options must be strings by name, not {name!r}: {type(value).__name__}"
            )
    session = session_of(spark) if spark is not None else active_session()
    found: dict[str, str] = {}
    for url in listed:
        found |= s3_options(os.fspath(url), None if session is None else session.spark)
    return FilesSource(tuple(_url(os.fspath(url)) for url in listed), format, {**found, **(options or {})})


def _url(given: str) -> str:
    """As the driver takes it: with a scheme that it knows, or an absolute path."""
    if "://" not in given:
        return os.path.abspath(os.path.expanduser(given))
    scheme = urlsplit(given).scheme
    if scheme in S3:
        return "s3" + given[len(scheme) :]
    if scheme not in SCHEMES:
        raise DataError(
            f"from_files cannot read {scheme}://; it reads {', '.join(SCHEMES)} and paths. Let Spark "
            "read it: Dataset.from_spark(spark.read.load(…))"
        )
    return given
