"""Notebooks' kernels: real ones, with or without a Spark session, and what they display."""

from __future__ import annotations

import os
import queue
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: Seconds that anything may take that a test waits for.
WITHIN = 240.0


def spark_kernel(environment: dict[str, str]) -> dict[str, str]:
    """What makes a Python kernel one for Spark: pyspark's own start-up file, which makes `spark`."""
    import pyspark

    options = [
        "--master local[2]",
        "--conf spark.ui.enabled=false",
        "--conf spark.ui.showConsoleProgress=false",
    ]
    # A JVM of seconds is not worth its second compiler.
    options.append("--driver-java-options -XX:TieredStopAtLevel=1")
    return {
        **environment,
        "PYTHONSTARTUP": str(Path(pyspark.__file__).parent / "shell.py"),
        "PYSPARK_SUBMIT_ARGS": " ".join([*options, "pyspark-shell"]),
    }


@dataclass
class Cell:
    """What a running, or finished, cell has shown.

    displays: by the display's id, all states of it in their order, as MIME bundles. error: name, value and
    traceback as lines without colours. stream: stdout and stderr.
    """

    displays: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    stream: str = ""
    error: tuple[str, str, list[str]] | None = None
    idle: bool = False

    @property
    def pages(self) -> list[str]:
        """The states of its only display, as HTML."""
        (states,) = self.displays.values()
        return [state["text/html"] for state in states]


class Kernel:
    """A kernel that one test module shares."""

    def __init__(self, environment: dict[str, str]) -> None:
        from jupyter_client.manager import start_new_kernel

        self.manager, self._client = start_new_kernel(
            startup_timeout=WITHIN, kernel_name="python3", env=environment
        )

    def close(self) -> None:
        self._client.stop_channels()
        self.manager.shutdown_kernel(now=False)

    def begin(self, code: str) -> Iterator[Cell]:
        """Runs a cell; gives it again and again, after each of its messages, until it is idle."""
        cell, asked, end = Cell(), self._client.execute(code), time.monotonic() + WITHIN
        while not cell.idle:
            try:
                message = self._client.get_iopub_msg(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"the cell took over {WITHIN:.0f} s:\n{code}\n{cell}") from None
            if message["parent_header"].get("msg_id") == asked:
                _take(cell, message["msg_type"], message["content"])
                yield cell

    def run(
        self, code: str, until: Callable[[Cell], bool] | None = None, then: Callable[[], Any] = lambda: None
    ) -> Cell:
        """Runs a cell to its end. `then` is called once, as soon as `until` holds of it."""
        waits, cell = until is not None, Cell()
        for cell in self.begin(code):
            if waits and until is not None and until(cell):
                waits = False
                then()
        assert not waits, f"it ended before: {cell}"
        return cell


def _take(cell: Cell, kind: str, content: dict[str, Any]) -> None:
    if kind == "stream":
        cell.stream += content["text"]
    elif kind in ("display_data", "update_display_data"):
        name = content.get("transient", {}).get("display_id", "")
        assert kind == "display_data" or name in cell.displays, "an update of nothing"
        cell.displays.setdefault(name, []).append(content["data"])
    elif kind == "error":
        lines = re.sub(r"\x1b\[[\d;]*m", "", "\n".join(content["traceback"])).split("\n")
        cell.error = (content["ename"], content["evalue"], lines)
    elif kind == "status":
        cell.idle = content["execution_state"] == "idle"


def environment() -> dict[str, str]:
    return dict(os.environ)
