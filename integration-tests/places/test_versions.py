"""The shim on other versions of Spark; `make test` runs on the one of requirements-dev.txt."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from places.environments import environment
from places.pages import REPOSITORY


@pytest.mark.parametrize(
    ("version", "passes"), [("3.5", "4 passed, 1 skipped"), ("4.0", "5 passed"), ("4.3", "5 passed")]
)
def test_the_shim_works_on_spark(version: str, passes: str) -> None:
    python = str(environment(f"spark-{version}", shared=True))
    command = [python, "-m", "pytest", "-q", "-c", "pyspark_shim/pyproject.toml", "--rootdir", "."]
    done = subprocess.run(
        [*command, str(Path(__file__).with_name("on_spark.py"))],
        cwd=REPOSITORY,
        env={name: value for name, value in os.environ.items() if name != "SPARK_HOME"}
        | {"PYSPARK_PYTHON": python, "PYSPARK_DRIVER_PYTHON": python},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert re.search(rf"^{passes}\b", done.stdout.splitlines()[-1]), done.stdout
