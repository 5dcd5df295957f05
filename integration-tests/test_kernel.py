"""What `lagom` shows in a notebook's kernel with a Spark session, and how it is broken off there."""

import base64
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import lethe_processes, wait_for
from kernels import Cell, Kernel, environment, spark_kernel
from programs import executable

SETUP = f"""
import sys, threading, time
sys.path.insert(0, {str(Path(__file__).parent)!r})
import lethe
import pyarrow as pa
from frames import frame_of
from searches import search, training
from sklearn.datasets import load_digits

images, labels = load_digits(return_X_y=True)
table = pa.table({{"pixels": list((images / 16).astype("float32")), "digit": labels}})
frame = frame_of(spark, table)
dataset = lethe.Dataset.from_spark(frame, features="pixels", label="digit").split(validation=0.2, seed=7)
endless = training(epochs=100_000)
"""


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    before = lethe_processes()
    folder = tmp_path_factory.mktemp("kernel")
    made = Kernel(spark_kernel(environment()))
    try:
        started = made.run(f"import os; os.chdir({str(folder)!r})\n{SETUP}")
        assert started.error is None, started
        yield made
    finally:
        made.close()
    assert wait_for(lambda: lethe_processes() <= before, 10), "a process of Lethe was left behind"


def rows(page: str) -> list[dict[str, str]]:
    """The table of a page, a dict by its headings for each row."""
    found = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in re.findall(r"<tr>(.*?)</tr>", page)]
    return [dict(zip(found[0], row, strict=True)) for row in found[1:]]


def trains(cell: Cell) -> bool:
    """Whether the live table shows two trials that run and have a metric."""
    if not cell.displays:
        return False
    running = [row for row in rows(cell.pages[-1]) if row["state"] == "running"]
    return len(running) == 2 and all(float(row["accuracy"] or 0) > 0 for row in running)


def trainers() -> list[int]:
    return [pid for pid in lethe_processes() if executable(pid) == "lethe-trainer"]


def test_a_live_table_is_updated_in_place_and_becomes_the_result(kernel: Kernel) -> None:
    seen: list[str] = []
    cell = kernel.run(
        "result = lethe.lagom(training(epochs=120), dataset, search(4))",
        trains,
        lambda: seen.append("trains"),
    )
    assert seen == ["trains"]
    assert cell.error is None
    # One display, drawn again and again; `Cell.pages` sees to it that there is no other.
    live, last = cell.pages[:-1], cell.pages[-1]
    assert len(live) >= 3
    assert "of 4 trials · 2 of 2 slots" in "".join(live)
    assert {row["state"] for page in live for row in rows(page)} >= {"running", "finished"}
    assert max(len(rows(page)) for page in live) == 4
    assert {"trial", "state", "slot", "epochs", "accuracy", "lr", "width", "dropout"} <= set(
        rows(live[-1])[0]
    )
    assert "4 trials (4 finished)" in last
    assert [row["state"] for row in rows(last)] == ["finished"] * 4
    assert cell.stream == "", "the table says it all"
    # The same that the result shows when it is looked at.
    shown = kernel.run("display(result)")
    assert shown.pages == [last]
    # A plot is a picture.
    plotted = kernel.run("display(result.plot.slots())")
    assert plotted.error is None
    ((picture,),) = plotted.displays.values()
    assert base64.b64decode(picture["image/png"]).startswith(b"\x89PNG")


def test_interrupt_stops_the_job_and_returns_the_partial_result(kernel: Kernel) -> None:
    began: list[float] = []

    def interrupt() -> None:
        began.append(time.monotonic())
        kernel.manager.interrupt_kernel()

    cell = kernel.run("result = lethe.lagom(endless, dataset, search(4))", trains, interrupt)
    assert time.monotonic() - began[0] < 5
    assert cell.error is None
    assert "interrupted (Ctrl-C)" in cell.pages[-1]
    after = kernel.run(
        "print(len(spark.sparkContext.statusTracker().getActiveJobsIds()), result.trials.value.notna().sum())"
    )
    assert after.stream.split() == ["0", "2"]
    assert not trainers()


def test_who_cancels_the_cells_job_group_ends_the_experiment(kernel: Kernel) -> None:
    """As the servers of notebooks do: they give each cell a group, and cancel that."""
    may = Path(kernel.run("print(os.path.abspath('cancel'))").stream.strip())
    cell = kernel.run(
        f"""
        def cancel():
            while not os.path.exists({str(may)!r}):
                time.sleep(0.05)
            spark.sparkContext.cancelJobGroup("the cell")

        threading.Thread(target=cancel, daemon=True).start()
        spark.sparkContext.setJobGroup("the cell", "a cell of a notebook")
        result = lethe.lagom(endless, dataset, search(4))
        print(result.interrupted, result.reason)
        """,
        trains,
        may.touch,
    )
    assert cell.error is None
    assert "True the slots' Spark job was cancelled" in cell.stream
    assert "it is submitted again" not in cell.stream
    assert "was cancelled" in cell.pages[-1]
    assert not trainers()


def test_an_error_begins_with_what_happened_and_shows_the_users_lines(kernel: Kernel) -> None:
    cell = kernel.run(
        """
from pyspark.sql import functions as F

@F.udf("array<float>")
def halve(pixels):
    raise KeyError("no pixel is left")

halved = frame.select(halve("pixels").alias("pixels"), "digit")
broken = lethe.Dataset.from_spark(halved, features="pixels", label="digit").split(validation=0.2)
lethe.lagom(endless, broken, search(4))
"""
    )
    assert cell.error is not None
    _, _, lines = cell.error
    assert lines[0] == "DataError: Spark could not compute the dataset: KeyError: 'no pixel is left'"
    text = "\n".join(lines)
    assert "org.apache.spark" not in text
    assert re.search(r"Cell In\[\d+\], line 9, in <module>\n    lethe.lagom\(endless", text)
    assert "lethe/experiment" not in text, "Lethe's own frames"


def test_a_failing_function_is_shown_by_its_cell(kernel: Kernel) -> None:
    cell = kernel.run(
        """
def fit(hparams):
    return hparams["nothing"]

lethe.lagom(fit, None, lethe.Single(), slots=1)
"""
    )
    assert cell.error is None
    page = cell.pages[-1]
    assert "KeyError: &#x27;nothing&#x27;" in page
    assert re.search(r"Cell In\[\d+\], line 2, in fit\n\s+return hparams\[&quot;nothing&quot;\]", page)
