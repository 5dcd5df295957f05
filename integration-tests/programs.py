"""Programs that run in a process of their own, because what they do ends a process, or because a process has
one SparkContext."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

from conftest import lethe_processes
from journals import trains_after

PRELUDE = """
    import json, os, sys, threading, time
    sys.path.insert(0, {here!r})
    import lethe
    import pyarrow as pa
    from conftest import lethe_processes, wait_for
    from frames import frame_of
    from searches import search, training
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    pixels = pa.array(list((images / 16).astype("float32")), pa.list_(pa.float32()))
    table = pa.table({{"pixels": pixels, "digit": pa.array(labels, pa.int64())}})

    def say(**what):
        print("SAYS " + json.dumps(what), flush=True)
"""

CLASSIC = """
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master({master!r}).config("spark.ui.enabled", "false")
    for key, value in {conf!r}.items():
        builder = builder.config(key, value)
    spark = builder.config("spark.ui.showConsoleProgress", "false").getOrCreate()
    frame = frame_of(spark, table).repartition(3)
    dataset = lethe.Dataset.from_spark(frame, features="pixels", label="digit").split(validation=0.2, seed=7)
"""


class Program:
    """A running Python program; what it `say`s is read line by line."""

    def __init__(self, *parts: str, environment: dict[str, str] | None = None, **values: Any) -> None:
        values["here"] = str(Path(__file__).parent)
        text = "\n".join(textwrap.dedent(part.format(**values)) for part in (PRELUDE, *parts[:-1]))
        text += "\n" + textwrap.dedent(parts[-1])
        self.process = subprocess.Popen(
            [sys.executable, "-c", text],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **(environment or {})},
        )
        self.output: list[str] = []

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def says(self) -> dict[str, Any]:
        """The next thing that it says."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output.append(line)
            if line.startswith("SAYS "):
                return dict(json.loads(line.removeprefix("SAYS ")))
        raise AssertionError("the program ended without saying more:\n" + "".join(self.output))

    def rest(self, seconds: float = 60) -> str:
        """All that it has printed, once it has ended."""
        output, _ = self.process.communicate(timeout=seconds)
        return "".join(self.output) + output


def spark_home(folder: Path) -> dict[str, str]:
    """pip's Spark with a `work` folder of its own: workers write there, and site-packages is not theirs."""
    import pyspark

    installed = Path(pyspark.__file__).parent
    for name in ("bin", "jars", "python", "sbin", "data"):
        if (installed / name).exists():
            (folder / name).symlink_to(installed / name)
    return {"SPARK_HOME": str(folder)}


def executable(pid: int) -> str:
    """The name of a process's binary; empty if it has gone."""
    try:
        return os.path.basename(os.readlink(f"/proc/{pid}/exe"))
    except OSError:
        return ""


def environment(pid: int) -> dict[str, str]:
    entries = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


def command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").replace("\0", " ")


def stat(pid: int) -> list[str]:
    """The fields of /proc/<pid>/stat from the third (the state) on."""
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()


def parent(pid: int) -> int:
    return int(stat(pid)[1])


def cpu_seconds(pid: int) -> float:
    """What a process has computed so far; 0 if it has gone."""
    try:
        fields = stat(pid)
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def training_now(before: set[int]) -> set[int]:
    """Trainers that came after `before` and have computed for a while: they are past their start."""
    new = {pid for pid in lethe_processes() - before if executable(pid) == "lethe-trainer"}
    return {pid for pid in new if cpu_seconds(pid) > 0.5}


def held_after(events: Callable[[], list[dict[str, Any]]], epoch: int, before: set[int]) -> bool:
    """Whether the trial of the only trainer that came after `before` trains on after this epoch: then the
    trainer stands still, and the trial stays there until it is killed."""
    if not trains_after(events(), epoch):
        return False
    (trainer,) = (pid for pid in lethe_processes() - before if executable(pid) == "lethe-trainer")
    os.kill(trainer, signal.SIGSTOP)
    if trains_after(events(), epoch):
        return True
    os.kill(trainer, signal.SIGCONT)
    return False


def jvm_of(trainer: int) -> int:
    """The Spark executor's JVM whose local directory a trainer works in."""
    folder = os.readlink(f"/proc/{trainer}/cwd")
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.path.basename(os.readlink(f"/proc/{pid}/exe")) != "java":
                continue
            given = environment(int(pid)).get("SPARK_EXECUTOR_DIRS", "")
        except OSError:
            continue
        if any(part and folder.startswith(part) for part in given.replace(":", ",").split(",")):
            return int(pid)
    raise AssertionError(f"no JVM has {folder}")
