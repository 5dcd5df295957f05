"""Keras on TensorFlow on several workers, in an environment of its own."""

import os
import subprocess
from pathlib import Path

from places.environments import environment
from places.pages import REPOSITORY


def test_keras_on_tensorflow_trains_on_several_workers() -> None:
    python = str(environment("tensorflow", shared=True))
    command = [python, "-m", "pytest", "-q", "-c", "pyspark_shim/pyproject.toml", "--rootdir", "."]
    done = subprocess.run(
        [*command, str(Path(__file__).with_name("on_tensorflow.py"))],
        cwd=REPOSITORY,
        env={**os.environ, "PYSPARK_PYTHON": python, "PYSPARK_DRIVER_PYTHON": python},
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert done.stdout.splitlines()[-1].startswith("6 passed"), done.stdout
