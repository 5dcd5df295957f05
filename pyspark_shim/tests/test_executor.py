"""Starting one executor per place: the lock, and an info file whose process has gone."""

import fcntl
import json
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from lethe import process
from lethe.errors import InstallError, ProcessError
from lethe.task import executor
from lethe.task.place import Place, address_towards
from lethe.task.request import Request
from lethe.version import PROTOCOL, installed

# A process that stands in for the executor: it counts its starts, answers by a rename and lives until its
# owner's pipe closes or it is killed.
STAND_IN = """#!{python}
import json, os, sys, time
config = json.loads(sys.stdin.readline())
with open(config["info"] + ".starts", "a") as file:
    file.write(config["token"] + "\\n")
if os.environ.get("STAND_IN_ENDS"):
    print("no room on this device", file=sys.stderr)
    sys.exit(1)
stat = open("/proc/self/stat").read().rsplit(")", 1)[1].split()
info = dict(protocol={protocol}, version={version!r}, pid=os.getpid(), started=int(stat[19]),
            executor="e", address="127.0.0.1:1", error=os.environ.get("STAND_IN_ERROR"))
with open(config["info"] + ".new", "w") as file:
    json.dump(info, file)
os.rename(config["info"] + ".new", config["info"])
end = time.monotonic() + 60
while time.monotonic() < end and os.path.exists(config["local_directory"]):
    time.sleep(0.02)
"""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = tmp_path / "stand-in"
    program.write_text(STAND_IN.format(python=sys.executable, protocol=PROTOCOL, version=installed("lethe")))
    program.chmod(0o755)
    monkeypatch.setattr(executor.process, "binary", lambda name: program)
    return program


def request() -> Request:
    return Request("app", "secret" * 8, "127.0.0.1:9", str(installed("lethe")), start_timeout=20)


@pytest.fixture
def place(tmp_path: Path) -> Any:
    base = tmp_path / "base"
    base.mkdir()
    yield Place(str(base), process.owner(os.getpid()), "127.0.0.1")
    # The stand-in ends when its directory has gone.
    base.rename(tmp_path / "gone")


def starts(place: Place) -> int:
    return len((executor.folder(place, "app") / "executor.json.starts").read_text().splitlines())


def test_many_tasks_start_one_executor(place: Place, stand_in: Path) -> None:
    found: list[int] = []
    threads = [
        threading.Thread(target=lambda: found.append(executor.ensure_executor(request(), place)["pid"]))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 8
    assert len(set(found)) == 1
    assert starts(place) == 1
    assert os.getsid(found[0]) != os.getsid(0), "Ctrl-C must not reach it"
    assert stat.S_IMODE(executor.folder(place, "app").stat().st_mode) == 0o700


def test_a_dead_executor_is_replaced(place: Place, stand_in: Path) -> None:
    first = executor.ensure_executor(request(), place)
    os.kill(first["pid"], 9)
    assert process.wait_until(lambda: not process.alive(first["pid"], first["started"]), 10)
    second = executor.ensure_executor(request(), place)
    assert second["pid"] != first["pid"]
    assert starts(place) == 2


def test_a_reused_pid_is_not_taken_for_the_executor(place: Place, stand_in: Path) -> None:
    home = executor.folder(place, "app")
    home.mkdir()
    stale = {"pid": os.getpid(), "started": 1, "address": "x", "error": None}
    (home / "executor.json").write_text(json.dumps(stale))
    assert executor.ensure_executor(request(), place)["pid"] != os.getpid()


@pytest.mark.parametrize("content", ["", "{", "[]", "{}"])
def test_a_damaged_info_file_is_passed_over(place: Place, stand_in: Path, content: str) -> None:
    home = executor.folder(place, "app")
    home.mkdir()
    (home / "executor.json").write_text(content)
    assert executor.ensure_executor(request(), place)["address"] == "127.0.0.1:1"


def test_the_lock_is_closed_after_success_and_failure(
    place: Place, stand_in: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN_ENDS", "1")
    with pytest.raises(
        ProcessError, match=r"ended while it started; its log is .*\n.*no room on this device"
    ):
        executor.ensure_executor(request(), place)
    monkeypatch.delenv("STAND_IN_ENDS")
    executor.ensure_executor(request(), place)
    with open(executor.folder(place, "app") / "executor.lock", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_what_the_executor_says_is_the_error(
    place: Place, stand_in: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN_ERROR", "cannot reach the driver at 10.0.0.1:7")
    with pytest.raises(ProcessError, match=r"^cannot reach the driver at 10\.0\.0\.1:7$"):
        executor.ensure_executor(request(), place)


def test_the_token_is_in_no_command_line(place: Place, stand_in: Path) -> None:
    found = executor.ensure_executor(request(), place)
    for name in ("cmdline", "environ"):
        assert b"secretsecret" not in Path(f"/proc/{found['pid']}/{name}").read_bytes()
    assert "secretsecret" not in repr(request())


def test_another_version_of_lethe_is_refused(place: Place) -> None:
    other = Request("app", "secret" * 8, "127.0.0.1:9", "9.9.9")
    with pytest.raises(InstallError, match=rf"has lethe {installed('lethe')}, the driver has lethe 9\.9\.9"):
        executor.ensure_executor(other, place)


def test_a_zombie_is_not_alive() -> None:
    child = subprocess.Popen(["/bin/true"])
    started = process.start_time(child.pid)
    assert process.wait_until(lambda: process.start_time(child.pid) is None, 10)
    assert started is None or not process.alive(child.pid, started)
    child.wait()


def test_the_address_towards_a_peer_is_one_of_ours() -> None:
    assert address_towards("127.0.0.1:9") == "127.0.0.1"
    with pytest.raises(ProcessError, match=r"no route to nowhere\.invalid:9"):
        address_towards("nowhere.invalid:9")
