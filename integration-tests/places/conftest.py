"""Places with environments of their own, and a cluster on whose hosts nothing is installed."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from places.cluster import Cluster, standalone
from places.pages import commands


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with standalone(tmp_path_factory.mktemp("cluster")) as running:
        yield running


def user() -> dict[str, str]:
    """The environment of someone who has activated this one."""
    import pyspark

    spark = Path(pyspark.__file__).parent
    unset = {"PYSPARK_PYTHON", "PYSPARK_DRIVER_PYTHON", "PYTHONPATH", "SPARK_HOME"}
    path = f"{Path(sys.executable).parent}:{spark / 'bin'}:{os.environ['PATH']}"
    return {name: value for name, value in os.environ.items() if name not in unset} | {
        "PATH": path,
        "SPARK_LOCAL_IP": "127.0.0.1",
    }


@pytest.fixture(scope="session")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`env.tar.gz`, made as docs/operating.md says."""
    folder = tmp_path_factory.mktemp("shipped")
    pack = commands("docs/operating.md")[0].splitlines()[0]
    assert pack.startswith("python -m lethe.pack env.tar.gz")
    done = subprocess.run(
        ["bash", "-c", pack], cwd=folder, env=user(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder / "env.tar.gz"
