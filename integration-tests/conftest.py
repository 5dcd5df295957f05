"""Real processes and real Spark; every test leaves no process of Lethe behind."""

import os
import secrets
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from sklearn.datasets import load_digits

os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
os.environ.setdefault("PYSPARK_DRIVER_PYTHON", sys.executable)


# All that this run starts inherits the mark, programs of its own too: tests kill processes, and on a shared
# machine those of another run must neither be counted nor killed. Each worker of pytest-xdist is a run.
MARK = "LETHE_TEST_RUN"
_WORKER = os.environ.get("PYTEST_XDIST_WORKER", "alone")
if not os.environ.get(MARK, "").startswith(_WORKER):
    os.environ[MARK] = f"{_WORKER}-{secrets.token_hex(8)}"
    # Those ignore it; what they start would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def of_this_run(pid: int) -> bool:
    """Whether the process was started by this test run, or is a child of one that was."""
    mark = f"{MARK}={os.environ[MARK]}".encode()
    for _ in range(8):
        try:
            if mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                return True
            # A trainer's environment is scrubbed: its executor tells.
            pid = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
        except (OSError, ValueError):
            return False
        if pid <= 1:
            return False
    return False


def lethe_processes() -> set[int]:
    """Pids of Lethe's processes that this test run started, workers of Python functions too."""
    found = set()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            name = os.path.basename(os.readlink(entry / "exe"))
            own = name.startswith("lethe-") or b"lethe.worker.main" in (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if own and of_this_run(int(entry.name)):
            found.add(int(entry.name))
    return found


def wait_for(condition: Any, seconds: float) -> bool:
    """Polls until the condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


@pytest.fixture(scope="session")
def digits() -> pa.Table:
    """1,797 rows: pixels (64 float32) and digit (int64)."""
    images, labels = load_digits(return_X_y=True)
    pixels = pa.array(list((images / 16).astype("float32")), pa.list_(pa.float32()))
    return pa.table({"pixels": pixels, "digit": pa.array(labels, pa.int64())})


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def no_process_left() -> Iterator[None]:
    """The module's applications are ended after it, and none of their processes stays."""
    import lethe

    before = lethe_processes()
    yield
    lethe.shutdown()
    assert wait_for(lambda: lethe_processes() <= before, 10), "a process of Lethe was left behind"


@pytest.fixture(scope="module")
def spark(no_process_left: None) -> Iterator[Any]:
    """A classic session on two local cores."""
    from pyspark.sql import SparkSession

    session = (
        SparkSession.builder.master("local[2]")
        .appName("lethe-integration")
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.sql.shuffle.partitions", "4")
        .getOrCreate()
    )
    yield session
    session.stop()
