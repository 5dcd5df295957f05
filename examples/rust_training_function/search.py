"""Searches the hyperparameters of a Rust training function on Spark.

    cargo build --release --manifest-path examples/rust_training_function/Cargo.toml
    python examples/rust_training_function/search.py
    examples/rust_training_function/target/release/ratings-trainer

The trainer is shipped to the executors as any file is; libtorch comes from the environment's `torch`.
"""

import argparse
from pathlib import Path

from pyspark.sql import SparkSession

import lethe


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("trainer", type=Path, help="the binary that cargo built")
    arguments.add_argument("--trials", type=int, default=12)
    given = arguments.parse_args()
    spark = SparkSession.builder.appName("ratings").getOrCreate()
    spark.sparkContext.addFile(str(given.trainer.absolute()))
    space = lethe.SearchSpace(
        rank=lethe.integer(1, 16), lr=lethe.loguniform(1e-3, 1e-1), weight_decay=lethe.loguniform(1e-6, 1e-2)
    )
    result = lethe.lagom(
        lethe.Registered("matrix_factorisation", epochs=9),
        None,
        lethe.Search(
            space, given.trials, "rmse", "min", optimizer="tpe", stopping=lethe.ASHA(pause=False), seed=1
        ),
        settings=lethe.Settings(trainer=given.trainer.name),
    )
    assert result.best is not None
    print(f"best rmse {result.best.value:.3f} with rank {result.best.hparams['rank']}")
    spark.stop()


if __name__ == "__main__":
    main()
