"""Reads of rows from whichever executor can give them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from lethe import flight
from lethe.application.application import Application, Stored
from lethe.dataset.files import FilesSource
from lethe.dataset.source import Source
from lethe.errors import DataError
from lethe.flight import Peer


def table(owner: Application, source: Source, found: Stored, ticket: dict[str, Any]) -> pa.Table:
    """All of a ticket.

    Raises DataError, which says why no executor can give it.
    """
    failures = Failures()
    for peer in holders(owner, source, found):
        try:
            return peer.get(ticket)
        except flight.FAILED as error:
            failures.add(peer, error)
        finally:
            peer.close()
    raise failures.error()


def stream(
    owner: Application, source: Source, found: Stored, ticket: dict[str, Any]
) -> Iterator[pa.RecordBatch]:
    """The record batches of a ticket, as they come. Where an executor goes away in the middle, another gives
    the rest: all give the same.

    Raises DataError, which says why no executor can give it.
    """
    failures, given = Failures(), 0
    for peer in holders(owner, source, found):
        try:
            for number, batch in enumerate(peer.read(ticket)):
                if number >= given:
                    given += 1
                    yield batch
            return
        except flight.FAILED as error:
            failures.add(peer, error)
        finally:
            peer.close()
    raise failures.error()


def holders(owner: Application, source: Source, found: Stored) -> list[Peer]:
    """Executors that hold a part of the dataset now: the one that took it may have been replaced. Files any
    executor reads: the local one."""
    if owner.session is None or isinstance(source, FilesSource):
        return [owner.executor()]
    try:
        located = owner.peer.call("dataset.locate", {"dataset": found.name})
    except flight.FAILED as error:
        raise DataError(f"the dataset could not be located: {flight.reason(error)}") from None
    places = (place["address"] for part in located["partitions"] for place in part["locations"])
    return [Peer(address, owner.token) for address in dict.fromkeys(places)]


class Failures:
    """Why executors gave nothing."""

    def __init__(self) -> None:
        self._said: list[tuple[str, str, bool]] = []

    def add(self, peer: Peer, error: BaseException) -> None:
        self._said.append((peer.address, flight.reason(error), isinstance(error, flight.LOST)))

    def error(self) -> DataError:
        """What all say of the data is the error; else who said what."""
        reasons = {reason for _, reason, lost in self._said if not lost}
        if len(reasons) == 1 and all(not lost for *_, lost in self._said):
            return DataError(reasons.pop())
        listed = "; ".join(f"{address}: {reason}" for address, reason, _ in self._said)
        return DataError(f"the rows could not be read from any executor; run lagom again ({listed})")
