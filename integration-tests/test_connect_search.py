"""Searches through Spark Connect. The client has no SparkContext, so this runs in a process of its own."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from conftest import lethe_processes, wait_for

SEARCH = """
    import sys
    sys.path[:0] = [{path!r}]
    import pyarrow as pa
    from pyspark.sql import SparkSession
    from sklearn.datasets import load_digits
    import lethe
    from searches import accuracy, search, training

    spark = SparkSession.builder.remote("local[2]").getOrCreate()
    images, labels = load_digits(return_X_y=True)
    table = pa.table({{"pixels": pa.array(list(images.astype("float32"))), "digit": labels}})
    frame = spark.createDataFrame(table).repartition(3)
    dataset = lethe.Dataset.from_spark(frame, features="pixels", label="digit").split(validation=0.2, seed=7)
    result = lethe.lagom(training(epochs=3), dataset, search(4), quiet=True)
    assert accuracy(result.best_model(), dataset.validation) == result.best.metrics["accuracy"]
    print("SLOTS", len(result.slots), "TRIALS", len(result.trials), type(spark).__module__)
    spark.stop()
"""


@pytest.mark.usefixtures("no_process_left")
def test_a_search_runs_through_spark_connect() -> None:
    before = lethe_processes()
    program = textwrap.dedent(SEARCH.format(path=str(Path(__file__).parent)))
    environment = {name: value for name, value in os.environ.items() if name != "PYSPARK_SUBMIT_ARGS"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=180,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "SLOTS 2 TRIALS 4 pyspark.sql.connect.session" in done.stdout
    assert wait_for(lambda: lethe_processes() <= before, 10)
