"""A training function in Rust, from a crate of its own to a search on Spark: the example as its README
says."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import tomllib
from conftest import lethe_processes, wait_for

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "rust_training_function"


@pytest.fixture(scope="module")
def trainer() -> Path:
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    environment = {**os.environ, "LIBTORCH_CXX11_ABI": "1"}
    if "LIBTORCH" not in environment:
        import torch

        environment["LIBTORCH"] = str(Path(torch.__file__).parent)
    manifest = ["--manifest-path", str(EXAMPLE / "Cargo.toml"), "--target-dir", str(target)]
    profile = os.environ.get("LETHE_PROFILE", "release")
    build = ["cargo", "build", "--profile", profile, "--locked", *manifest]
    if profile != "release":
        # A profile of the workspace, which the example is no member of: what both compile is compiled once.
        settings = tomllib.loads((ROOT / "Cargo.toml").read_text())["profile"][profile]
        build += [f"--config=profile.{profile}.{key}={json.dumps(settings[key])}" for key in settings]
    subprocess.run(build, check=True, env=environment)
    return target / profile / "ratings-trainer"


def test_its_main_is_short() -> None:
    assert len((EXAMPLE / "src" / "main.rs").read_text().splitlines()) < 40
    assert "examples" not in (ROOT / "Cargo.toml").read_text()


def test_the_example_searches_on_spark(trainer: Path) -> None:
    before = lethe_processes()
    arguments = "--master local[2] --conf spark.ui.enabled=false --conf spark.ui.showConsoleProgress=false"
    done = subprocess.run(
        [sys.executable, str(EXAMPLE / "search.py"), str(trainer), "--trials", "8"],
        env={**os.environ, "PYSPARK_SUBMIT_ARGS": f"{arguments} pyspark-shell"},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.search(r"best rmse ([\d.]+) with rank (\d+)", done.stdout)
    assert found is not None, done.stdout
    # The ratings' noise is 0.1, their spread 2; rank 0 would give 2.
    assert float(found[1]) < 1.0
    assert "8 trials" in done.stdout
    assert wait_for(lambda: lethe_processes() <= before, 15)


def test_without_its_trainer_the_function_is_unknown() -> None:
    import lethe

    space = lethe.SearchSpace(lr=lethe.uniform(0, 1))
    search = lethe.Search(space, 1, "rmse", "min")
    result = lethe.lagom(lethe.Registered("matrix_factorisation", 3), None, search, spark=False, quiet=True)
    assert result.trials["error"][0].startswith("this trainer has no training function")
    lethe.shutdown()
    absent = lethe.Settings(trainer="/nowhere/trainer")
    with pytest.raises(
        lethe.LetheError, match=r"the trainer /nowhere/trainer of lethe\.Settings is no program"
    ):
        lethe.lagom(
            lethe.Registered("x", 1), None, search, spark=False, quiet=True, settings=absent, name="absent"
        )
    lethe.shutdown()
