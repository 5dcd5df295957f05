"""SQL over an experiment's tables, from its driver or from its folder."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.flight as fl
import pytest

import lethe
from lethe import process
from lethe.flight import Peer
from lethe.result.sql import Tables

#: Stands in for the driver's program: it writes what it was asked as a table.
STAND_IN = """#!{python}
import json, sys
import pyarrow as pa
question = json.loads(sys.stdin.readline())
if "nothing" in question["query"]:
    sys.exit("lethe-driver: there is no table nothing; there are trials, metrics, slots, events")
table = pa.table({{"command": [sys.argv[1]], **{{name: [value] for name, value in question.items()}}}})
with pa.ipc.new_stream(sys.stdout.buffer, table.schema) as stream:
    stream.write_table(table)
"""


@pytest.fixture
def experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    import sys

    program = tmp_path / "lethe-driver"
    program.write_text(STAND_IN.format(python=sys.executable))
    program.chmod(0o755)
    monkeypatch.setattr(process, "binary", lambda name: tmp_path / name)
    folder = tmp_path / "lethe-runs" / "digits"
    folder.mkdir(parents=True)
    return folder


class Server(fl.FlightServerBase):  # type: ignore[misc]
    """Stands in for the driver: answers with the query, and refuses `nothing`."""

    def do_get(self, context: Any, ticket: fl.Ticket) -> fl.RecordBatchStream:
        asked = json.loads(ticket.ticket)
        if asked["query"] == "nothing":
            raise pa.ArrowInvalid("there is no table nothing; there are trials")
        return fl.RecordBatchStream(pa.table({name: [value] for name, value in asked.items()}))


@pytest.fixture
def driver() -> Iterator[Any]:
    server = Server("grpc+tcp://127.0.0.1:0")
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    running = threading.Event()
    peer = Peer(f"127.0.0.1:{server.port}", "token" * 8)
    yield SimpleNamespace(
        peer=peer, driver=SimpleNamespace(alive=lambda: not running.is_set()), end=running.set, server=server
    )
    peer.close()
    server.shutdown()
    thread.join(10)


def test_a_living_driver_is_asked(experiment: Path, driver: Any) -> None:
    found = Tables(experiment, driver).query("select 1")
    assert found.to_pylist() == [{"type": "sql", "experiment": "digits", "query": "select 1"}]
    with pytest.raises(lethe.LetheError, match=r"^sql: there is no table nothing; there are trials$"):
        Tables(experiment, driver).query("nothing")


def test_after_the_driver_the_folder_is_read(experiment: Path, driver: Any) -> None:
    tables = Tables(experiment, driver)
    driver.end()
    assert tables.query("select 1").to_pylist() == [
        {"command": "query", "directory": str(experiment), "query": "select 1"}
    ]


def test_a_driver_that_ends_meanwhile_is_no_error(experiment: Path, driver: Any) -> None:
    tables = Tables(experiment, driver)
    driver.server.shutdown()
    assert tables.query("select 1")["command"].to_pylist() == ["query"]


def test_an_experiment_is_opened_by_folder_or_name(experiment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(experiment.parents[1])
    for given in (experiment, "lethe-runs/digits", "digits"):
        found = lethe.open(given)
        assert (found.name, found.directory) == ("digits", str(experiment))
    assert found.sql("select 1")["query"].tolist() == ["select 1"]
    assert found.trials["query"].tolist() == ["select * from trials order by trial"]
    with pytest.raises(lethe.LetheError, match=r"^sql: there is no table nothing; there are trials, metrics"):
        found.sql("select * from nothing")


def test_an_experiment_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(lethe.ConfigError, match="there is no experiment 'digits'"):
        lethe.open("digits")


def test_a_query_is_text(experiment: Path) -> None:
    with pytest.raises(lethe.ConfigError, match="takes a query as text, not int"):
        Tables(experiment).query(1)  # type: ignore[arg-type]
