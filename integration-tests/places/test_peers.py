"""Unit tests that skip where a peer is not installed: both sides of the pages for those who come from
elsewhere, and the callback of Hugging Face's Trainer."""

import os
import subprocess

from places.environments import environment
from places.pages import REPOSITORY

TESTS = ("test_peer_pages.py", "test_callbacks_transformers.py")


def test_nothing_is_skipped_where_the_peers_are_installed() -> None:
    python = str(environment("peers", shared=True))
    tests = [f"pyspark_shim/tests/{test}" for test in TESTS]
    done = subprocess.run(
        [python, "-m", "pytest", "-q", "-c", "pyspark_shim/pyproject.toml", "--rootdir", ".", "-rs", *tests],
        cwd=REPOSITORY,
        env=os.environ | {"PYSPARK_PYTHON": python, "PYSPARK_DRIVER_PYTHON": python},
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "SKIPPED" not in done.stdout, done.stdout
