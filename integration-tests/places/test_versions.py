"""The shim on other versions of Spark; `make test` runs on the one of requirements-dev.txt.

The same tests: those that have a Spark session. Unit tests import no pyspark; they run beside the oldest
Spark too, for its old NumPy, pandas and pyarrow.
"""

import os
import subprocess

import pytest

from places.environments import environment
from places.pages import REPOSITORY

#: Files of integration-tests, or tests of these.
ON_SPARK = (
    "test_spark_search.py",
    "test_spark_recovery.py",
    "test_spark_ends.py::test_ctrl_c_returns_the_partial_result_of_a_spark_search",
    "test_spark_ends.py::test_an_interpreter_without_lethe_is_named_first",
    "test_connect.py",
    "test_pipe.py",
    "test_kernel.py",
    "test_notebook.py::test_it_runs_unchanged[spark-single]",
    "test_data_spark.py",
    "test_data_gone.py",
    "test_data_order.py::test_spark_s_partitioning_changes_nothing_where_rows_have_a_key",
    "test_models.py::test_executors_of_spark_predict_their_partitions",
    "test_ablation.py::test_a_study_runs_on_the_slots_of_spark",
    "test_functions_spark.py",
    "test_gang.py::test_ranks_on_two_spark_executors",
    "test_oblivious.py::test_the_quickstart_runs_on_spark_as_it_is_written",
    "test_example.py::test_the_search_finds_a_good_model_and_both_sides_agree_on_it[spark-submit]",
)


def run(version: str, *tests: str) -> list[str]:
    """What pytest prints, with the interpreter that has this version. They all pass, or are skipped."""
    python = str(environment(f"spark-{version}", shared=True))
    imported = subprocess.check_output(
        [python, "-c", "import pyspark; print(pyspark.__version__)"], text=True
    )
    assert imported.startswith(f"{version}."), imported
    command = [python, "-m", "pytest", "-q", "-c", "pyspark_shim/pyproject.toml", "--rootdir", "."]
    done = subprocess.run(
        [*command, "-rs", "--durations", "20", *tests],
        cwd=REPOSITORY,
        env={name: value for name, value in os.environ.items() if name != "SPARK_HOME"}
        | {"PYSPARK_PYTHON": python, "PYSPARK_DRIVER_PYTHON": python},
        capture_output=True,
        text=True,
        check=False,
        timeout=1800,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    return done.stdout.splitlines()


@pytest.mark.parametrize("version", ["3.5", "4.0", "4.3"])
def test_the_shim_works_on_spark(version: str) -> None:
    lines = run(version, *(f"integration-tests/{test}" for test in ON_SPARK))
    skipped = [line for line in lines if line.startswith("SKIPPED")]
    assert all("has no Connect server" in line for line in skipped), skipped
    assert not skipped or version == "3.5", skipped


def test_the_shim_works_with_the_packages_of_the_oldest_spark() -> None:
    run("3.5", "pyspark_shim/tests")
