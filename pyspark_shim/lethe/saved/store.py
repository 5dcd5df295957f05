"""A model's folder, on this host or in an object store: whole files in, whole files out."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from lethe.dataset.credentials import S3, s3_options
from lethe.errors import ConfigError, ModelError
from lethe.saved import options as told

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

AZURE = ("az", "abfs", "abfss")
SCHEMES = ("s3", "gs", "az", "abfs", "abfss", "hdfs", "file")


class Store:
    """url: a path, or a URL of one of `SCHEMES`. options: of the store; they are written nowhere, and no
    message has one of their values. spark: whose settings open S3, None: none.

    Raises ConfigError if it is none, or an option is unknown.
    """

    def __init__(
        self, url: str | os.PathLike[str], options: Mapping[str, str] | None = None, spark: Any = None
    ) -> None:
        if not isinstance(url, str | os.PathLike) or not os.fspath(url):
            raise ConfigError(f"a model's place is a path or a URL such as s3://bucket/model, not {url!r}")
        for name, value in (options or {}).items():
            if not isinstance(name, str) or not isinstance(value, str):
                raise ConfigError(
                    f"store_options must be strings by name, not {name!r}: {type(value).__name__}"
                )
        given = os.fspath(url)
        self._local = "://" not in given or given.startswith("file://")
        if self._local:
            if options:
                raise ConfigError("store_options are for a store; name it by its URL: s3://bucket/model")
            given = unquote(urlsplit(given).path) if given.startswith("file://") else given
            self.url = os.path.abspath(os.path.expanduser(given))
        else:
            self.url = given.rstrip("/")
        with _failing(f"{self.url} cannot be reached"):
            self._files, self._base = self._opened(options or {}, spark)

    def _opened(self, options: Mapping[str, str], spark: Any) -> tuple[FileSystem, str]:
        from pyarrow import fs

        if self._local:
            return fs.LocalFileSystem(), self.url
        parts = urlsplit(self.url)
        if not parts.netloc:
            raise ConfigError(f"{self.url} names no bucket; write {parts.scheme}://bucket/model")
        path = parts.netloc + parts.path
        if parts.scheme in S3:
            arguments = told.s3({**s3_options(self.url, spark), **options})
            if "region" not in arguments:
                with contextlib.suppress(OSError):
                    arguments["region"] = fs.resolve_s3_region(parts.netloc)
            return fs.S3FileSystem(**arguments), path
        if parts.scheme == "gs":
            return fs.GcsFileSystem(**told.google(options)), path
        if parts.scheme in AZURE:
            return _azure(parts, told.azure(options))
        if parts.scheme == "hdfs" and not options:
            return fs.FileSystem.from_uri(self.url)  # type: ignore[no-any-return]
        raise ConfigError(
            f"models are not kept at {parts.scheme}://; there are {', '.join(SCHEMES)} and paths. Save it to "
            "a folder, and copy that"
        )

    def read(self, name: str, most: int) -> bytes | None:
        """All of a file; None if there is none.

        Raises ModelError if it has more than `most` bytes, or cannot be read.
        """
        with _failing(f"{self.url}/{name} cannot be read"):
            try:
                with self._files.open_input_file(f"{self._base}/{name}") as file:
                    if file.size() > most:
                        raise ModelError(
                            f"{self.url}/{name} has {file.size()} bytes, and a model of Lethe has at most "
                            f"{most} there; is it one?"
                        )
                    content: bytes = file.read(most)
                    return content
            except (FileNotFoundError, NotADirectoryError):
                return None

    def write(self, name: str, content: bytes) -> None:
        """The whole file or none: a store puts an object when it has all of it, a folder gets it renamed.

        Raises ModelError if it cannot be written.
        """
        path = f"{self._base}/{name}"
        with _failing(f"{self.url}/{name} cannot be written"):
            if not self._renames:
                with self._files.open_output_stream(path) as file:
                    file.write(content)
                return
            self._files.create_dir(self._base, recursive=True)
            unfinished = f"{self._base}/.{name}.{secrets.token_hex(4)}.unfinished"
            try:
                with self._files.open_output_stream(unfinished) as file:
                    file.write(content)
                self._files.move(unfinished, path)
            except BaseException:
                with contextlib.suppress(OSError):
                    self._files.delete_file(unfinished)
                raise

    @property
    def _renames(self) -> bool:
        return self._local or self.url.startswith("hdfs")

    def delete(self, name: str) -> None:
        """If it is there."""
        with _failing(f"{self.url}/{name} cannot be removed"), contextlib.suppress(FileNotFoundError):
            self._files.delete_file(f"{self._base}/{name}")

    def is_missing(self) -> bool:
        """Whether this host has no such folder; stores have no folders."""
        return self._local and not Path(self.url).is_dir()

    def __repr__(self) -> str:
        return f"Store({self.url})"


def _azure(parts: Any, arguments: dict[str, Any]) -> tuple[FileSystem, str]:
    """`az://container/path`, or `abfss://container@account.dfs.core.windows.net/path`."""
    from pyarrow import fs

    container, _, host = parts.netloc.partition("@")
    if host:
        arguments["account_name"] = host.split(".")[0]
    if "account_name" not in arguments:
        raise ConfigError(
            "az:// needs the account's name: AZURE_STORAGE_ACCOUNT_NAME in the environment, or "
            'store_options={"azure_storage_account_name": …}'
        )
    return fs.AzureFileSystem(**arguments), container + parts.path


@contextlib.contextmanager
def _failing(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ModelError(
            f"{what}: {_short(error)}; are the address, the rights and the credentials (environment, or "
            "store_options=) right?"
        ) from None


def _short(error: OSError) -> str:
    text = error.strerror or str(error)
    return " ".join(text.split())[:500]
