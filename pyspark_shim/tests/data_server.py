"""Stands in for driver and executor of datasets: a real Flight server whose answers a test writes."""

import json
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.flight as fl

from lethe.application.application import Stored
from lethe.flight import Peer

#: The answer to a ticket.
Answer = Callable[[dict[str, Any]], Iterable[pa.RecordBatch]]


class Server(fl.FlightServerBase):  # type: ignore[misc]
    """answers: to tickets, by their type. schemas: by queries. described: the message `Described`.

    Of each dataset it holds one partition.
    """

    def __init__(self) -> None:
        super().__init__("grpc+tcp://127.0.0.1:0")
        self.answers: dict[str, Answer] = {}
        self.schemas: dict[tuple[str, ...], pa.Schema] = {}
        self.described: dict[str, Any] = {}
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def do_action(self, context: Any, action: fl.Action) -> Iterator[bytes]:
        self.calls.append((action.type, json.loads(action.body.to_pybytes())))
        answers = {"dataset.describe": self.described, "dataset.locate": self._located()}
        return iter([json.dumps(answers.get(action.type, {})).encode()])

    def _located(self) -> dict[str, Any]:
        return {"partitions": [{"partition": 0, "rows": 1, "locations": [f"127.0.0.1:{self.port}"]}]}

    def get_schema(self, context: Any, descriptor: fl.FlightDescriptor) -> fl.SchemaResult:
        asked = json.loads(descriptor.command)
        self.calls.append(("schema", asked))
        return fl.SchemaResult(self.schemas[tuple(asked.get("queries", ()))])

    def do_get(self, context: Any, ticket: fl.Ticket) -> fl.GeneratorStream:
        asked = json.loads(ticket.ticket)
        self.calls.append(("get", asked))
        batches = iter(self.answers[asked["type"]](asked))
        first = next(batches)

        def stream() -> Iterator[pa.RecordBatch]:
            yield first
            yield from batches

        return fl.GeneratorStream(first.schema, stream())

    def called(self, kind: str) -> list[dict[str, Any]]:
        return [message for name, message in self.calls if name == kind]


class Owner:
    """An application whose driver and only executor is this server."""

    session = None
    token = "t" * 64

    def __init__(self, server: Server) -> None:
        self._address = f"127.0.0.1:{server.port}"
        self.peer = Peer(self._address, self.token)
        self.stored: dict[str, Stored] = {}

    def executor(self) -> Peer:
        return Peer(self._address, self.token)


@contextmanager
def serving() -> Iterator[tuple[Server, Owner]]:
    server = Server()
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    owner = Owner(server)
    try:
        yield server, owner
    finally:
        owner.peer.close()
        server.shutdown()
        thread.join()
