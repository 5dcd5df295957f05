"""Searches learning rate, width and dropout of a small network on scikit-learn's digits.

    python examples/search_digits.py                       a local Spark, or what PYSPARK_SUBMIT_ARGS says
    spark-submit --master … examples/search_digits.py      a cluster
    python examples/search_digits.py --no-spark            the local executor

Every training step runs in Rust; the model is an ordinary `nn.Module`.
"""

import argparse
import importlib.util
import os

import pyarrow as pa
import torch
from sklearn.datasets import load_digits
from torch import nn

import lethe

arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
arguments.add_argument("--no-spark", action="store_true", help="run on the local executor")
arguments.add_argument("--trials", type=int, default=60)
arguments.add_argument("--plots", metavar="FOLDER", help="save figures of the search there")
options = arguments.parse_args()

spark = None
if not options.no_spark and importlib.util.find_spec("pyspark") is not None:
    from pyspark.sql import SparkSession

    spark = SparkSession.builder.appName("search_digits").getOrCreate()

# The data: 1,797 images of 8 × 8 pixels and the digit that each shows.
images, labels = load_digits(return_X_y=True)
pixels = pa.array(list((images / 16).astype("float32")), pa.list_(pa.float32()))
table = pa.table({"pixels": pixels, "digit": pa.array(labels, pa.int64())})
if spark is not None:
    # From Spark 4.0 on `createDataFrame(table)` does; before it, rows.
    frame = spark.createDataFrame(table.to_pylist(), "pixels array<float>, digit long")
    dataset = lethe.Dataset.from_spark(frame, features="pixels", label="digit")
else:
    dataset = lethe.Dataset.from_arrow(table, features="pixels", label="digit")
digits = dataset.split(validation=0.2, seed=7)


def model(hparams, inputs):
    return nn.Sequential(
        nn.Linear(inputs, hparams["width"]),
        nn.ReLU(),
        nn.Dropout(hparams["dropout"]),
        nn.Linear(hparams["width"], 10),
    )


train = lethe.Supervised(model=model, loss="cross_entropy", metrics=["accuracy"], epochs=27, batch_size=32)
space = lethe.SearchSpace(
    lr=lethe.loguniform(1e-4, 1e-1), width=lethe.integer(16, 256), dropout=lethe.uniform(0.0, 0.6)
)
search = lethe.Search(
    space,
    trials=options.trials,
    optimizer="random",
    stopping=lethe.ASHA(reduction=3),
    metric="accuracy",
    direction="max",
    seed=1,
)
result = lethe.lagom(train, digits, search, spark=False if options.no_spark else None)

# The saved model, loaded back and scored in PyTorch on the same validation rows.
best = torch.jit.load(result.best_model_path).eval()
features, digit = digits.validation.to_torch()
with torch.no_grad():
    accuracy = (best(features).argmax(dim=1) == digit).double().mean().item()
reported = result.best.metrics["accuracy"]
print(f"validation accuracy of the best model: {accuracy:.4f} in PyTorch, {reported:.4f} on the executor")
assert abs(accuracy - reported) < 1e-9, "PyTorch and the executor disagree"
assert options.trials < 60 or accuracy >= 0.97, "the search found no good model"

if options.plots:
    os.makedirs(options.plots, exist_ok=True)
    for plot in ("history", "curves", "parallel", "importance", "slots"):
        getattr(result.plot, plot)().savefig(os.path.join(options.plots, f"{plot}.png"))

if spark is not None:
    spark.stop()
