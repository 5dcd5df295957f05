"""The same rows in the same order, however they are partitioned, where they lie, and whoever reads them."""

import hashlib
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from searches import search, training
from tables import ROWS, table
from torch import nn

import lethe
from lethe.experiment.seed import trial_seed

pytestmark = pytest.mark.usefixtures("no_process_left")

FEATURES = ["a", "b", "id"]
Make = Callable[[pa.Table, int, Path], lethe.Dataset]


def shuffled(seed: int) -> pa.Table:
    return table().take(pa.array(np.random.default_rng(seed).permutation(ROWS)))


def ended(data: lethe.Dataset) -> lethe.Dataset:
    """As every test needs it: normalized, in three parts, numbered by its key."""
    return data.normalize("a").split(0.2, test=0.1, seed=6)


def as_table(rows: pa.Table, partitions: int, folder: Path) -> lethe.Dataset:
    return lethe.Dataset.from_arrow(rows, FEATURES, "y", key="id", weight="w")


def as_files(rows: pa.Table, partitions: int, folder: Path) -> lethe.Dataset:
    root = folder / f"{partitions}"
    root.mkdir()
    bounds = np.linspace(0, rows.num_rows, partitions + 1).astype(int)
    for number, (begin, end) in enumerate(itertools.pairwise(bounds)):
        pq.write_table(rows.slice(begin, end - begin), root / f"{number}.parquet", row_group_size=13)
    return lethe.Dataset.from_files(root, FEATURES, "y", key="id", weight="w")


def digest(data: lethe.Dataset, **how: Any) -> str:
    """Of all bytes that batches of two epochs, and the other parts, have."""
    found = hashlib.sha256()
    for epoch in (1, 2):
        for batch in data.train.batches(32, seed=5, epoch=epoch, form="numpy", **how):
            for name, column in sorted(batch.items()):
                found.update(name.encode() + str(column.shape).encode() + column.tobytes())
    for part in (data.validation, data.test):
        for column in part.to_numpy():
            found.update(column.tobytes())
    return found.hexdigest()


ORDERS: dict[str, Callable[[lethe.Dataset], lethe.Dataset]] = {
    "shuffled": lambda data: data,
    "blocks": lambda data: data.shuffle(blocks=16, window=3),
    "balanced": lambda data: data.balance(),
    "weighted": lambda data: data.sample_by_weight(),
    "in order": lambda data: data.shuffle(False),
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("make", [as_table, as_files])
def test_a_key_makes_batches_independent_of_order_and_partitions(
    make: Make, order: str, tmp_path: Path
) -> None:
    found = {
        digest(ORDERS[order](ended(make(rows, partitions, tmp_path))))
        for rows, partitions in ((table(), 1), (shuffled(1), 3), (shuffled(2), 7))
    }
    assert len(found) == 1
    without = ended(make(shuffled(3), 2, tmp_path).with_column("b", "b + 1"))
    assert digest(ORDERS[order](without)) not in found


def test_without_a_key_batches_follow_the_rows() -> None:
    """Else the test above would pass for a key that is ignored."""
    found = {digest(ended(lethe.Dataset.from_arrow(rows, FEATURES, "y"))) for rows in (table(), shuffled(1))}
    assert len(found) == 2


def test_other_executors_give_the_same_batches_to_the_bit(tmp_path: Path) -> None:
    files = as_files(table(), 4, tmp_path)
    found, trained = [], []
    for _ in range(2):
        lethe.shutdown()
        for data in (as_table(table(), 1, tmp_path), files):
            found.append(digest(ended(data)))
            result = lethe.lagom(training(epochs=2), ended(data), search(3), spark=False, slots=2, quiet=True)
            history = result.history.sort_values(["trial", "epoch"]).reset_index(drop=True)
            trained.append(history[["trial", "epoch", "train_loss", "loss", "accuracy"]])
    assert len(set(found)) == 1
    assert all(frame.equals(trained[0]) for frame in trained[1:])


class Line(nn.Module):
    """Begins at nothing: `weight` and `bias` are 0."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.line = nn.Linear(inputs, 1)
        nn.init.zeros_(self.line.weight)
        nn.init.zeros_(self.line.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.line(x)


@pytest.mark.parametrize("order", ["in order", "shuffled", "blocks"])
@pytest.mark.parametrize("weight", [None, "w"])
def test_a_trial_learns_from_the_batches_that_python_reads(order: str, weight: str | None) -> None:
    """A line trained by gradient descent: NumPy, over the batches of `batches()`, has the same losses."""
    rate, size, epochs = 0.05, 37, 3
    data = lethe.Dataset.from_arrow(table(), ["a", "b"], "y", weight=weight).normalize()
    data = ORDERS[order](data.split(0.2, seed=2))
    what = search(1, metric="train_loss", direction="min", space=lethe.SearchSpace(lr=lethe.choice([rate])))
    train = training(
        model=lambda hparams, inputs: Line(inputs),
        loss="mse",
        metrics=[],
        optimizer="sgd",
        epochs=epochs,
        batch_size=size,
    )
    result = lethe.lagom(train, data, what, spark=False, slots=1, quiet=True)
    told = result.history.sort_values("epoch")["train_loss"].tolist()

    line, losses = np.zeros(3), []
    for epoch in range(1, epochs + 1):
        summed = counted = 0.0
        for batch in data.train.batches(size, seed=trial_seed(what.seed, 0), epoch=epoch, form="numpy"):
            x = np.column_stack([batch["features"], np.ones(len(batch["label"]))]).astype("float64")
            weights = batch["weight"].astype("float64") if weight else np.ones(len(x))
            error = x @ line - batch["label"]
            summed += (weights * error**2).sum()
            counted += weights.sum()
            line = line - rate * 2 * (weights * error) @ x / weights.sum()
        losses.append(summed / counted)
    assert told == pytest.approx(losses, rel=1e-4)
    model = result.best_model()
    found = torch.cat([model.line.weight[0], model.line.bias]).detach().numpy()
    np.testing.assert_allclose(found, line, rtol=1e-3, atol=1e-5)


def test_spark_s_partitioning_changes_nothing_where_rows_have_a_key(spark: Any) -> None:
    found = set()
    for partitions in (2, 5):
        frame = spark.createDataFrame(shuffled(partitions).to_pandas()).repartition(partitions)
        found.add(digest(ended(lethe.Dataset.from_spark(frame, FEATURES, "y", key="id", weight="w"))))
    # Without Spark too.
    assert found == {digest(ended(as_table(table(), 1, Path())))}
