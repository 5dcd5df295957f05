"""What is refused, by real processes: strangers, other versions, too little memory, a driver out of reach."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.flight as fl
import pytest
from searches import search, training

import lethe
from lethe import process
from lethe.application.registry import application
from lethe.flight import FAILED, Peer, reason

pytestmark = pytest.mark.usefixtures("no_process_left")


def raw(address: str, token: str | None, kind: str, body: bytes) -> None:
    headers = [] if token is None else [(b"authorization", f"Bearer {token}".encode())]
    with fl.connect(f"grpc+tcp://{address}") as client:
        list(client.do_action(fl.Action(kind, body), fl.FlightCallOptions(headers=headers)))


@pytest.mark.parametrize("token", [None, "x" * 64])
def test_a_stranger_is_refused_by_driver_and_executor(token: str | None) -> None:
    owner = application(None)
    for address in (owner.address, owner.executor().address):
        with pytest.raises(fl.FlightUnauthenticatedError):
            raw(address, token, "driver.hello", b"\xff not even a message")


def test_an_executor_of_another_protocol_is_refused_with_both_named() -> None:
    owner = application(None)
    stranger = {"protocol": 999, "version": "9.9.9", "executor": "e", "address": "127.0.0.1:1"}
    with pytest.raises(FAILED) as caught:
        next(owner.peer.stream("executor.register", stranger))
    said = reason(caught.value)
    assert "999" in said
    assert "9.9.9" in said
    assert lethe.__version__ in said


def test_a_message_over_its_limit_is_refused() -> None:
    owner = application(None)
    with pytest.raises(FAILED, match="more than the limit"):
        owner.peer.call("dataset.create", {"dataset": "x" * (5 << 20)})


def test_too_little_memory_names_the_setting_to_raise(digits: pa.Table) -> None:
    lethe.shutdown()
    dataset = lethe.Dataset.from_arrow(digits, features="pixels", label="digit").split(validation=0.2)
    settings = lethe.Settings(memory_limit=300 << 20)
    with pytest.raises(lethe.LetheError, match=r"^.*spark\.executor\.memoryOverhead"):
        lethe.lagom(training(), dataset, search(2), spark=False, slots=2, settings=settings, quiet=True)
    lethe.shutdown()


@pytest.mark.parametrize("silent", [False, True], ids=["closed port", "takes connections, never answers"])
def test_an_unreachable_driver_is_an_error_within_ten_seconds_that_names_both(
    silent: bool, tmp_path: Path
) -> None:
    info = tmp_path / "executor.json"
    with socket.socket() as driver:
        driver.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{driver.getsockname()[1]}"
        if silent:
            driver.listen()
        config: dict[str, Any] = {
            "token": "t" * 64,
            "application": "a",
            "driver": address,
            "bind": "127.0.0.1",
            "ports": None,
            "local_directory": str(tmp_path),
            "directory": str(tmp_path / "store"),
            "owner": process.owner(os.getpid()),
            "info": str(info),
            "log": str(tmp_path / "log"),
            "trainer": str(process.binary("lethe-trainer")),
            "python": sys.executable,
            "libtorch": None,
            "memory_limit": None,
            "threads": 1,
        }
        begin = time.monotonic()
        done = subprocess.run(
            [str(process.binary("lethe-executor"))],
            input=json.dumps(config) + "\n",
            text=True,
            capture_output=True,
            timeout=30,
            check=False,
        )
        assert time.monotonic() - begin < 10
    assert done.returncode != 0
    said = json.loads(info.read_text())["error"]
    assert said.startswith("the executor at 127.0.0.1:")
    assert f"the Lethe driver at {address}" in said.splitlines()[0]


def test_a_driver_out_of_reach_is_the_user_s_error_too(digits: pa.Table, tmp_path: Path) -> None:
    from lethe.task.executor import ensure_executor
    from lethe.task.place import Place
    from lethe.task.request import Request

    request = Request(application="a", token="t" * 64, driver="127.0.0.1:1", version=lethe.__version__)
    place = Place(str(tmp_path), process.owner(os.getpid()), "127.0.0.1")
    with pytest.raises(
        lethe.LetheError, match=r"^the executor at 127\.0\.0\.1:\d+ cannot reach .* 127\.0\.0\.1:1"
    ):
        ensure_executor(request, place)


def test_a_wrong_token_reaches_no_data() -> None:
    owner = application(None)
    stranger = Peer(owner.executor().address, "x" * 64)
    with pytest.raises(fl.FlightUnauthenticatedError):
        stranger.get({"type": "partition", "dataset": "d", "partition": 0})
