"""The Spark job of the DAG `lethe_digits`: one training function, searched or trained as the first word says.

    spark-submit … digits.py search --out FOLDER --trials 20
    spark-submit … digits.py train --out FOLDER --workers 2 --hparams '{"lr": 0.005, "width": 64}'

In the folder it leaves `best.json` (hyperparameters, metrics) and `model`, for `lethe.load`.
"""

import argparse
import json
from pathlib import Path

import pyarrow as pa
from pyspark.sql import SparkSession
from sklearn.datasets import load_digits
from torch import nn

import lethe

arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
arguments.add_argument("context", choices=["search", "train"])
arguments.add_argument("--out", type=Path, required=True)
arguments.add_argument("--trials", type=int, default=20)
arguments.add_argument("--workers", type=int, default=2)
arguments.add_argument("--hparams", type=json.loads, default={})
options = arguments.parse_args()

spark = SparkSession.builder.appName(f"digits: {options.context}").getOrCreate()
images, labels = load_digits(return_X_y=True)
table = pa.table({"pixels": list((images / 16).astype("float32")), "digit": labels})
# From Spark 4.0 on `createDataFrame(table)` does; before it, rows.
frame = spark.createDataFrame(table.to_pylist(), "pixels array<float>, digit long")
digits = lethe.Dataset.from_spark(frame, features="pixels", label="digit").split(validation=0.2, seed=7)


def model(hparams, inputs):
    return nn.Sequential(nn.Linear(inputs, hparams["width"]), nn.ReLU(), nn.Linear(hparams["width"], 10))


train = lethe.Supervised(model=model, loss="cross_entropy", metrics=["accuracy"], epochs=9, batch_size=32)
goal = {"metric": "accuracy", "direction": "max", "seed": 1}
if options.context == "search":
    space = lethe.SearchSpace(lr=lethe.loguniform(1e-4, 1e-1), width=lethe.integer(16, 128))
    context = lethe.Search(space, trials=options.trials, stopping=lethe.ASHA(reduction=3), **goal)
else:
    context = lethe.Distributed(hparams=options.hparams, workers=options.workers, **goal)

result = lethe.lagom(train, digits, context, directory=str(options.out))
best = {"experiment": result.name, "hparams": result.best.hparams, "metrics": result.best.metrics}
result.save(options.out / "model")
(options.out / "best.json").write_text(json.dumps(best, indent=2))
spark.stop()
