"""SQL over an experiment's tables: by its driver while that lives, else from its journal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from lethe import flight, process
from lethe.errors import ConfigError, LetheError

if TYPE_CHECKING:
    from lethe.application.application import Application


class Tables:
    """The tables `trials`, `metrics`, `slots` and `events` of the experiment in this folder.

    application: whose driver ran it; it is asked first, as long as it lives.
    """

    def __init__(self, directory: Path, application: Application | None = None) -> None:
        self._directory, self._application = directory, application

    def query(self, sql: str) -> pa.Table:
        """The answer of one SELECT.

        Raises LetheError, which says what is wrong with the query, or why the tables cannot be read.
        """
        if not isinstance(sql, str):
            raise ConfigError(f"sql takes a query as text, not {type(sql).__name__}")
        if self._application is not None and self._application.driver.alive():
            ticket = {"type": "sql", "experiment": self._directory.name, "query": sql}
            try:
                return self._application.peer.get(ticket)
            except flight.LOST:
                # Its driver has just ended; what it knew is in the folder.
                pass
            except flight.FAILED as error:
                raise LetheError(f"sql: {flight.reason(error)}") from None
        return self._read(sql)

    def _read(self, sql: str) -> pa.Table:
        question = {"directory": str(self._directory), "query": sql}
        done = process.ask("lethe-driver", "query", question, None)
        if done.returncode != 0:
            raise LetheError(f"sql: {process.said(done.stderr)}")
        with pa.ipc.open_stream(done.stdout) as stream:
            return stream.read_all()
