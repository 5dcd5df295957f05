"""Datasets end to end: real executors and files; values are those that NumPy computes."""

import datetime
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch
from searches import search, training
from tables import ROWS, table, write_files
from torch import nn

import lethe

pytestmark = pytest.mark.usefixtures("no_process_left")


def local(features: Any = ("a", "b"), label: str | None = "y", **how: Any) -> lethe.Dataset:
    return lethe.Dataset.from_arrow(
        table(), features if isinstance(features, dict) else list(features), label, **how
    )


def labels(batches: Iterator[dict[str, torch.Tensor]]) -> list[int]:
    return [int(value) for batch in batches for value in batch["label"]]


def test_every_type_becomes_the_tensor_that_it_means() -> None:
    times = [datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=60 * i) for i in range(4)]
    data = lethe.Dataset.from_arrow(
        pa.table(
            {
                "grid": pa.array([[[i, 1], [2, 3]] for i in range(4)], pa.list_(pa.list_(pa.int8()))),
                "price": pa.array([Decimal(i) / 4 for i in range(4)], pa.decimal128(10, 2)),
                "city": ["b", "c", "a", "b"],
                "yes": [True, False, True, True],
                "count": pa.array([1, 2, 3, 2**40], pa.uint64()),
                "born": [datetime.date(1970, 1, 1 + i) for i in range(4)],
                "seen": pa.array(times, pa.timestamp("us")),
                "class": ["no", "yes", "no", "maybe"],
            }
        ),
        {
            "grid": "grid",
            "facts": lethe.Input(["price", "city", "born", "seen"], dtype="float32"),
            "yes": "yes",
            "count": "count",
            "code": "city",
        },
        "class",
        dates="number",
    )
    found = data.train.to_numpy()
    assert {name: (array.dtype.name, array.shape[1:]) for name, array in found.items()} == {
        "grid": ("int8", (2, 2)),
        "facts": ("float32", (4,)),
        "yes": ("bool", (1,)),
        "count": ("int64", (1,)),
        "code": ("int64", (1,)),
        "label": ("int64", ()),
    }
    assert found["grid"].tolist() == [[[i, 1], [2, 3]] for i in range(4)]
    assert found["facts"].tolist() == [[i / 4, [1, 2, 0, 1][i], i, 60 * i] for i in range(4)]
    assert found["yes"][:, 0].tolist() == [True, False, True, True]
    assert found["count"][:, 0].tolist() == [1, 2, 3, 2**40]
    assert found["code"][:, 0].tolist() == [1, 2, 0, 1]
    assert found["label"].tolist() == [1, 2, 1, 0]
    assert data.preprocessing().classes == ["maybe", "no", "yes"]
    batch = next(data.shuffle(False).train.batches(4))
    assert all(np.array_equal(batch[name].numpy(), found[name]) for name in found)


def test_queries_make_columns_and_leave_rows_out() -> None:
    frame = table().to_pandas()
    data = local().filter("a > 4").with_column("ab", "a * b")
    kept = frame[frame.a > 4]
    features, label = data.train.to_numpy()
    np.testing.assert_allclose(features, np.stack([kept.a, kept.b, kept.a * kept.b], 1), rtol=1e-6)
    assert label.tolist() == kept.y.tolist()
    assert data.columns[-1] == "ab"

    grouped = data.sql("select city, avg(ab) as mean, max(y) as y from dataset group by city order by city")
    assert grouped.features == ("city", "mean")
    expected = (kept.a * kept.b).groupby(kept.city).mean()
    np.testing.assert_allclose(grouped.train.to_numpy()[0][:, 1], expected, rtol=1e-6)
    for query in ("select nothing from dataset", "drop table dataset", "select 1; select 2"):
        with pytest.raises(lethe.DataError):
            _ = data.sql(query).features


def test_each_split_sets_the_rows_aside_that_it_says() -> None:
    frame = table().to_pandas()

    def parts(data: lethe.Dataset) -> list[pd.DataFrame]:
        found = [
            getattr(data, name).to_numpy()[0][:, 0].astype(int) for name in ("train", "validation", "test")
        ]
        assert sorted(np.concatenate(found)) == list(range(ROWS))
        return [frame.set_index("id").loc[ids] for ids in found]

    base = local(["id"])
    train, validation, test = parts(base.split(0.2, test=0.1, seed=3))
    assert (len(validation), len(test)) == (60, 30)
    train, validation, test = parts(base.split(by="part"))
    assert [set(part.part) for part in (train, validation, test)] == [{"train"}, {"validation"}, {"test"}]
    train, validation, test = parts(base.split(0.2, test=0.1, stratify="y"))
    assert validation.y.value_counts().tolist() == [12] * 5
    assert test.y.value_counts().tolist() == [6] * 5
    train, validation, test = parts(base.split(0.2, test=0.1, group="group"))
    assert (len(validation), len(test)) == (60, 30)
    assert set(train.group).isdisjoint(validation.group)
    assert set(train.group).isdisjoint(test.group)
    train, validation, test = parts(base.split(0.2, test=0.1, time="a"))
    assert train.a.max() <= validation.a.min() <= validation.a.max() <= test.a.min()


def test_batches_are_one_order_whoever_reads_them() -> None:
    data = local().split(0.2, seed=1)
    train = data.train.to_numpy()[0]
    assert len(train) == 240
    whole = [batch["features"].numpy() for batch in data.train.batches(64, seed=9, epoch=2)]
    assert [len(batch) for batch in whole] == [64, 64, 64, 48]
    assert sorted(map(tuple, np.concatenate(whole))) == sorted(map(tuple, train))
    again = [batch["features"].numpy() for batch in data.train.batches(64, seed=9, epoch=2)]
    other = [batch["features"].numpy() for batch in data.train.batches(64, seed=9, epoch=3)]
    assert all(np.array_equal(one, two) for one, two in zip(whole, again, strict=True))
    assert not np.array_equal(whole[0], other[0])
    assert len(list(data.train.batches(64, drop_last=True))) == 3
    for shuffle in (None, False):
        one = list(data.train.batches(64, seed=9, shuffle=shuffle, form="numpy"))
        ranks = [
            list(data.train.batches(64, seed=9, shuffle=shuffle, form="numpy", rank=rank, world=3))
            for rank in range(3)
        ]
        for step, batch in enumerate(one):
            sliced = np.concatenate([rank[step]["features"] for rank in ranks])
            assert np.array_equal(sliced, batch["features"])
    in_order = np.concatenate(
        [batch["features"] for batch in data.train.batches(7, shuffle=False, form="numpy")]
    )
    assert np.array_equal(in_order, train)
    loader = data.train.to_dataloader(64, seed=9, epoch=2)
    assert all(np.array_equal(batch["features"], one) for batch, one in zip(loader, whole, strict=True))
    assert np.array_equal(next(iter(loader))["features"], other[0])


def test_the_native_loop_takes_the_same_batches() -> None:
    """A module that sums what it sees, weighted by the step: another order would give another sum."""
    from lethe.experiment.seed import trial_seed

    data = local(["a"])
    train = training(model=lambda hparams: Remembers(), loss=None, metrics=[], epochs=2, batch_size=50)
    what = search(
        1, metric="train_loss", direction="min", space=lethe.SearchSpace(lr=lethe.uniform(0.1, 0.2))
    )
    result = lethe.lagom(train, data, what, spark=False, slots=1, quiet=True)
    found = result.best_model().seen
    expected, step = torch.zeros(()), 0
    for epoch in (1, 2):
        for batch in data.train.batches(50, seed=trial_seed(what.seed, 0), epoch=epoch):
            step += 1
            expected = (
                expected + step * (batch["features"][:, 0] * torch.arange(1, len(batch["label"]) + 1)).sum()
            )
    torch.testing.assert_close(found, expected)


class Remembers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.register_buffer("seen", torch.zeros(()))
        self.register_buffer("step", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.weight

    @torch.jit.export
    def training_step(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        x = batch["features"][:, 0]
        self.step += 1
        self.seen += self.step * (x * torch.arange(1, x.size(0) + 1)).sum()
        return (x * self.weight).mean()


def test_a_key_makes_rows_independent_of_their_partitions() -> None:
    backwards = table().take(pa.array(range(ROWS - 1, -1, -1)))
    both = [
        lethe.Dataset.from_arrow(rows, ["a"], "y", key="id").split(0.2, seed=4)
        for rows in (table(), backwards)
    ]
    first, second = ([batch["features"].numpy() for batch in data.train.batches(64)] for data in both)
    assert all(np.array_equal(one, two) for one, two in zip(first, second, strict=True))
    assert np.array_equal(*(data.validation.to_numpy()[0] for data in both))


def test_drawn_rows_are_balanced_or_follow_their_weights() -> None:
    skewed = table().append_column("rare", pa.array([int(i % 10 == 0) for i in range(ROWS)]))
    data = lethe.Dataset.from_arrow(skewed, ["a"], "rare").balance()
    drawn = np.array([labels(data.train.batches(50, epoch=epoch)) for epoch in range(1, 21)])
    assert drawn.shape == (20, ROWS)
    assert abs(drawn.mean() - 0.5) < 0.05, "each class is equally likely"
    weighted = skewed.append_column("only", pa.array([float(i < 30) for i in range(ROWS)]))
    first = lethe.Dataset.from_arrow(weighted, ["b"], "y", weight="only").sample_by_weight()
    batch = next(first.train.batches(ROWS))
    assert "weight" not in batch
    allowed = set(zip(table()["b"].to_pylist()[:30], table()["y"].to_pylist()[:30], strict=True))
    assert set(zip(batch["features"][:, 0].tolist(), batch["label"].tolist(), strict=True)) <= allowed


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_files(tmp_path_factory.mktemp("files"))


@pytest.mark.parametrize("ending", ["csv", "arrow", "json"])
def test_files_of_each_format_have_the_rows_of_the_table(folder: Path, ending: str) -> None:
    features, label = lethe.Dataset.from_files(folder / f"rows.{ending}", ["a", "b"], "y").train.to_numpy()
    expected = local().train.to_numpy()
    np.testing.assert_allclose(features, expected[0], rtol=1e-6)
    assert label.tolist() == expected[1].tolist()


def test_folders_names_are_a_column(folder: Path) -> None:
    data = lethe.Dataset.from_files(folder / "hive", ["a", "id"], "y", key="id").split(by="part")
    frame = table().to_pandas().sort_values("id")
    for name in ("train", "validation", "test"):
        assert getattr(data, name).to_numpy()[0][:, 1].tolist() == frame[frame.part == name].id.tolist()
    everything = lethe.Dataset.from_files(str(folder / "hive/*/*.parquet"), label="y", format="parquet")
    assert set(everything.features) == {"id", "a", "b", "city", "group", "w", "part"}


def test_files_that_are_not_there_are_an_error_that_names_them(tmp_path: Path) -> None:
    with pytest.raises(lethe.DataError, match=r"^.*nothing"):
        lethe.Dataset.from_files(tmp_path / "nothing/*.parquet", ["a"], "y").train.to_arrow()


def test_raw_rows_go_through_what_training_learned(tmp_path: Path) -> None:
    data = local(["a", "b", "city"], fill={"b": 0}).normalize().split(by="part")
    needs = data.preprocessing()
    train, (validation, label) = data.train.to_numpy()[0], data.validation.to_numpy()
    np.testing.assert_allclose(train[:, :2].mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(train[:, :2].std(axis=0), 1, atol=1e-5)
    raw = table().filter(pc.equal(table()["part"], "validation"))
    np.testing.assert_allclose(needs.apply(raw)["features"], validation, rtol=1e-6, atol=1e-6)

    result = lethe.lagom(
        training(epochs=2),
        data,
        search(2),
        spark=False,
        slots=1,
        directory=str(tmp_path),
        name="raw",
        quiet=True,
    )
    assert result.preprocessing == needs == lethe.open(tmp_path / "raw").preprocessing
    model = torch.jit.load(result.best_model_path).eval()
    classes = model(needs.apply(raw, form="torch")["features"]).argmax(dim=1).numpy()
    assert (classes == label).mean() == pytest.approx(result.best.metrics["accuracy"])


def test_plain_numbers_need_nothing(tmp_path: Path) -> None:
    result = lethe.lagom(
        training(epochs=1),
        local().split(0.2),
        search(1),
        spark=False,
        directory=str(tmp_path),
        name="p",
        quiet=True,
    )
    assert result.preprocessing is None
    assert not (tmp_path / "p" / "preprocessing.json").exists()


def test_several_inputs_reach_the_module_by_their_names(tmp_path: Path) -> None:
    asked = []

    def model(hparams: dict[str, Any], inputs: dict[str, int]) -> nn.Module:
        asked.append(inputs)
        return Two(inputs["numbers"])

    data = local({"numbers": ["a", "b"], "city": "city"}).normalize("a").split(0.2)
    result = lethe.lagom(
        training(model=model), data, search(2), spark=False, directory=str(tmp_path), name="two", quiet=True
    )
    assert asked[0] == {"numbers": 2, "city": 1}
    assert result.trials["state"].tolist() == ["finished"] * 2
    assert result.preprocessing is not None
    inputs = result.preprocessing.apply(table().slice(0, 5), form="torch")
    assert result.best_model()(*inputs.values()).shape == (5, 10)


class Two(nn.Module):
    def __init__(self, numbers: int) -> None:
        super().__init__()
        self.cities = nn.Embedding(3, 4)
        self.head = nn.Linear(numbers + 4, 10)

    def forward(self, numbers: torch.Tensor, city: torch.Tensor) -> torch.Tensor:
        return self.head(torch.cat([numbers, self.cities(city[:, 0])], dim=1))
