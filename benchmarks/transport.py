"""`doput`, `doget`: GB/s between a Python process and the executor on loopback, beside pyarrow's own server.

The executor keeps what is put as a file, pyarrow's server in memory. Each holds what was put last: its pages
are used again in the next round."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa
import pyarrow.flight as fl

import lethe
from benchmarks import peer
from benchmarks.figure import Figure, compared
from lethe.application.registry import application

ROWS, COLUMNS, BATCHES, ROUNDS = 65_536, 64, 24, 5


def measure() -> list[Figure]:
    columns = [pa.array(np.random.rand(ROWS).astype("float32")) for _ in range(COLUMNS)]
    batch = pa.record_batch(columns, names=[f"f{i}" for i in range(COLUMNS)])
    gigabytes = batch.nbytes * BATCHES / 1e9
    rates: dict[str, list[float]] = {"put": [], "get": [], "peer put": [], "peer get": []}
    owner = application(None)
    executor = owner.executor()
    script = Path(__file__).parent / "peers" / "flight_server.py"
    server = subprocess.Popen([str(peer.environment()), str(script)], stdin=-1, stdout=-1, text=True)
    try:
        assert server.stdout is not None
        port = json.loads(server.stdout.readline())["port"]
        client = fl.connect(f"grpc+tcp://127.0.0.1:{port}")
        for number in range(ROUNDS):
            name = f"bench-{number}"
            owner.peer.call("dataset.create", {"dataset": name})
            what = {"type": "partition", "dataset": name, "partition": 0}
            begin = time.perf_counter()
            executor.put(what, batch.schema, [batch] * BATCHES)
            rates["put"].append(gigabytes / (time.perf_counter() - begin))
            begin = time.perf_counter()
            assert executor.get(what).num_rows == ROWS * BATCHES
            rates["get"].append(gigabytes / (time.perf_counter() - begin))
            owner.peer.call("dataset.drop", {"dataset": name})
            begin = time.perf_counter()
            writer, reader = client.do_put(fl.FlightDescriptor.for_path("x"), batch.schema)
            with writer:
                for _ in range(BATCHES):
                    writer.write_batch(batch)
                writer.done_writing()
                while reader.read() is not None:
                    pass
            rates["peer put"].append(gigabytes / (time.perf_counter() - begin))
            begin = time.perf_counter()
            assert client.do_get(fl.Ticket(b"x")).read_all().num_rows == ROWS * BATCHES
            rates["peer get"].append(gigabytes / (time.perf_counter() - begin))
    finally:
        server.terminate()
        server.wait()
        lethe.shutdown()
    middle = {name: median(values) for name, values in rates.items()}
    return [
        compared("doput", middle["put"], "GB/s", "pyarrow", middle["peer put"], "≥ 1 GB/s"),
        compared("doget", middle["get"], "GB/s", "pyarrow", middle["peer get"], "≥ 2 GB/s"),
    ]
