"""pyarrow's own Flight server: keeps what is put in memory, and gives it back. The peer of `doput` and
`doget`."""

import json
import sys

import pyarrow.flight as fl


class Server(fl.FlightServerBase):
    def __init__(self) -> None:
        super().__init__("grpc+tcp://127.0.0.1:0")
        self.table = None

    def do_put(self, context, descriptor, reader, writer) -> None:
        self.table = reader.read_all()

    def do_get(self, context, ticket):
        return fl.RecordBatchStream(self.table)


server = Server()
print(json.dumps({"port": server.port}), flush=True)
# Ends with whoever started it.
sys.stdin.read()
server.shutdown()
