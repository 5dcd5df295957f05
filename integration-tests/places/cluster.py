"""A standalone cluster of pip's Spark on the loopback address: a master and two workers of one core each."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from conftest import MARK, wait_for
from programs import spark_home

WORKERS = 2


@dataclass(frozen=True)
class Cluster:
    """master: its URL. work: the folders in which the workers keep what applications bring."""

    master: str
    work: tuple[Path, ...]


def bare() -> dict[str, str]:
    """An environment in which no package of this one is found, and no interpreter but the system's."""
    java = os.path.realpath(shutil.which("java") or "java")
    return {
        "PATH": "/usr/bin:/bin",
        "JAVA_HOME": str(Path(java).parents[1]),
        "HOME": "/nonexistent",
        "LANG": "C.UTF-8",
        "SPARK_LOCAL_IP": "127.0.0.1",
        MARK: os.environ[MARK],
    }


@contextmanager
def standalone(folder: Path) -> Iterator[Cluster]:
    """Runs the cluster; its processes end with the block."""
    home = folder / "spark"
    home.mkdir()
    environment = bare() | spark_home(home)

    with ExitStack() as stack:

        def start(name: str, *arguments: str) -> Path:
            log = folder / f"{name}.log"
            file = stack.enter_context(log.open("w"))
            process = subprocess.Popen(
                [str(home / "bin" / "spark-class"), *arguments],
                env=environment,
                cwd=folder,
                stdout=file,
                stderr=file,
            )
            stack.callback(process.wait, 30)
            stack.callback(process.terminate)
            return log

        deploy = "org.apache.spark.deploy"
        log = start(
            "master",
            *(f"{deploy}.master.Master", "--host", "127.0.0.1", "--port", "0", "--webui-port", "0"),
        )
        assert wait_for(lambda: "at spark://" in log.read_text(), 60), log.read_text()
        master = re.search(r"spark://[\d.]+:\d+", log.read_text())
        assert master is not None
        work = tuple(folder / f"work-{number}" for number in range(WORKERS))
        for number, path in enumerate(work):
            start(
                f"worker-{number}",
                *(f"{deploy}.worker.Worker", "--host", "127.0.0.1", "--webui-port", "0"),
                *("--cores", "1", "--memory", "2g", "--work-dir", str(path), master[0]),
            )
        assert wait_for(lambda: log.read_text().count("Registering worker") == WORKERS, 60), log.read_text()
        yield Cluster(master[0], work)
