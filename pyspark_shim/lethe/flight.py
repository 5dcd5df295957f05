"""A connection to one of Lethe's processes: every call carries the application's token."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.flight as fl

#: One gRPC message, bytes; the Rust side refuses more.
MESSAGE_BYTES = 64 << 20
#: What is taken in one: a training batch comes whole, and an executor gives none over half a gigabyte.
RECEIVED_BYTES = 576 << 20
#: What one Flight message carries at most, bytes.
BATCH_BYTES = 16 << 20
#: Seconds that a call may take that answers once.
CALL_SECONDS = 60.0

#: The other side has gone, or cannot be reached: another try on a new connection may help.
LOST = (fl.FlightUnavailableError, fl.FlightInternalError, fl.FlightCancelledError, fl.FlightTimedOutError)
#: All that a call raises.
FAILED = (fl.FlightError, pa.ArrowException)


class Peer:
    """A Flight client of `host:port` with the application's token. Safe to use from several threads."""

    def __init__(self, address: str, token: str) -> None:
        self.address = address
        self._headers = [(b"authorization", f"Bearer {token}".encode())]
        options = [
            ("grpc.max_receive_message_length", RECEIVED_BYTES),
            ("grpc.max_send_message_length", MESSAGE_BYTES),
            # A proxy for the internet is no way to another executor.
            ("grpc.enable_http_proxy", 0),
            ("grpc.keepalive_time_ms", 10_000),
            ("grpc.keepalive_timeout_ms", 10_000),
        ]
        self._client = fl.connect(f"grpc+tcp://{address}", generic_options=options)

    def _options(self, seconds: float | None) -> fl.FlightCallOptions:
        return fl.FlightCallOptions(timeout=seconds, headers=self._headers)

    def call(self, kind: str, message: dict[str, Any], seconds: float = CALL_SECONDS) -> Any:
        """Calls an action that answers once, with JSON."""
        answers = self._client.do_action(_action(kind, message), self._options(seconds))
        for answer in answers:
            return json.loads(answer.body.to_pybytes())
        return None

    def stream(self, kind: str, message: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Calls an action that answers with a stream of JSON; it may stay open for days."""
        for answer in self._client.do_action(_action(kind, message), self._options(None)):
            yield json.loads(answer.body.to_pybytes())

    def put(self, what: dict[str, Any], schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> int:
        """Puts record batches; returns their rows when the other side has them safe."""
        descriptor = fl.FlightDescriptor.for_command(json.dumps(what).encode())
        writer, reader = self._client.do_put(descriptor, schema, self._options(None))
        rows = 0
        with writer:
            try:
                for batch in batches:
                    for piece in slices(batch):
                        writer.write_batch(piece)
                        rows += piece.num_rows
            except (BrokenPipeError, *FAILED):
                # The other side refused: why is in its status, which closing brings.
                writer.close()
                raise
            writer.done_writing()
            while reader.read() is not None:
                pass
        return rows

    def get(self, ticket: dict[str, Any]) -> pa.Table:
        """All record batches of a ticket."""
        return self._client.do_get(fl.Ticket(json.dumps(ticket).encode()), self._options(None)).read_all()

    def read(self, ticket: dict[str, Any]) -> Iterator[pa.RecordBatch]:
        """The record batches of a ticket, as they come."""
        reader = self._client.do_get(fl.Ticket(json.dumps(ticket).encode()), self._options(None))
        try:
            for chunk in reader:
                yield chunk.data
        finally:
            # Whoever stops early wants no more of it.
            reader.cancel()

    def exchange(self, what: dict[str, Any]) -> tuple[fl.FlightStreamWriter, fl.FlightStreamReader]:
        """Both halves of an exchange of messages."""
        descriptor = fl.FlightDescriptor.for_command(json.dumps(what).encode())
        writer, reader = self._client.do_exchange(descriptor, self._options(None))
        return writer, reader

    def schema(self, what: dict[str, Any], seconds: float = CALL_SECONDS) -> pa.Schema:
        """The columns of what a descriptor's command names."""
        descriptor = fl.FlightDescriptor.for_command(json.dumps(what).encode())
        return self._client.get_schema(descriptor, self._options(seconds)).schema

    def close(self) -> None:
        self._client.close()


def _action(kind: str, message: dict[str, Any]) -> fl.Action:
    return fl.Action(kind, json.dumps(message).encode())


def slices(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """The batch in pieces of at most `BATCH_BYTES`, or of one row."""
    if batch.num_rows == 0:
        return
    per_row = max(1, batch.nbytes // batch.num_rows)
    rows = max(1, BATCH_BYTES // per_row)
    for start in range(0, batch.num_rows, rows):
        yield batch.slice(start, rows)


def reason(error: BaseException) -> str:
    """What the other side said, without gRPC's and Arrow's decoration."""
    text = str(error)
    text = re.split(r"\.? gRPC client debug context:| Client context:|\. Detail:", text)[0]
    text = re.sub(r"^(Flight returned [a-z_ ]+ error|Flight RPC failed|[A-Za-z ]+), with message: ", "", text)
    text = re.sub(r"^Could not finish writing before closing: ?", "", text)
    return text.strip() or type(error).__name__
