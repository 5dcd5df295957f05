"""A model that was saved and loaded predicts raw rows as the module predicts prepared ones."""

import datetime
import math
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from saving import COLUMNS, net, outputs, preprocessing, result, rows
from torch import nn

import lethe
from lethe.saved import predictor as predictor_module
from lethe.saved.outputs import wanted_of
from lethe.saved.predictor import Predictor
from lethe.saved.signature import Signature

CLASSES = ["later", "no", "yes"]


@pytest.fixture
def loaded(tmp_path: Path) -> tuple[lethe.SavedModel, nn.Module]:
    found, module = result()
    return lethe.load(found.save(tmp_path / "model")), module


def expected(module: nn.Module, table: pa.Table) -> list[str]:
    return [CLASSES[place] for place in outputs(module, table).argmax(dim=1).tolist()]


class Capsule:
    """Columns of some other library."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def __arrow_c_stream__(self, requested: Any = None) -> Any:
        return self._table.__arrow_c_stream__(requested)


def test_it_tells_what_it_is_and_needs(loaded: tuple[lethe.SavedModel, nn.Module]) -> None:
    model, _ = loaded
    assert model.name == "flats"
    assert model.columns == {"area": pa.float64(), "rooms": pa.int32(), "city": pa.string()}
    assert model.inputs == {"features": {"columns": COLUMNS.names, "dtype": "float32", "shape": [3]}}
    assert (model.hparams, model.classes, model.task) == (
        {"outputs": 3, "lr": 0.1},
        CLASSES,
        "classification",
    )
    assert model.metrics["accuracy"] == 0.75
    assert math.isnan(model.metrics["loss"])
    assert model.description["seed"] == 3
    assert model.description["searched"]["context"] == "search"
    assert model.description["searched"]["source"]["optimizer"] == {"type": "random"}
    assert model.description["versions"]["torch"] == "2.13.0"
    assert repr(model).startswith("SavedModel(flats: classification, columns: area: double, rooms: int32")


@pytest.mark.parametrize("batch_size", [1, 3, 4096])
def test_each_kind_of_table_gets_the_module_s_predictions(
    loaded: tuple[lethe.SavedModel, nn.Module], batch_size: int
) -> None:
    model, module = loaded
    table = rows()
    wanted = expected(module, table)
    assert len(set(wanted)) > 1
    frame = table.to_pandas().set_index(pd.Index(range(10, 17)))
    got = model.predict(frame, batch_size=batch_size)
    assert got.index.tolist() == frame.index.tolist()
    assert got["prediction"].tolist() == wanted
    assert got.drop(columns="prediction").equals(frame)
    reader = pa.RecordBatchReader.from_batches(table.schema, table.to_batches(max_chunksize=2))
    for given in (table, reader, Capsule(table), table.combine_chunks().to_batches()[0]):
        answer = model.predict(given, batch_size=batch_size)
        whole = answer.read_all() if isinstance(given, pa.RecordBatchReader) else answer
        assert whole.column_names == [*table.column_names, "prediction"]
        assert whole["prediction"].to_pylist() == wanted
        assert whole.drop_columns("prediction").equals(table)


def test_a_reader_is_read_as_the_answer_is(loaded: tuple[lethe.SavedModel, nn.Module]) -> None:
    read: list[int] = []

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in rows().to_batches(max_chunksize=2):
            read.append(batch.num_rows)
            yield batch

    answer = loaded[0].predict(pa.RecordBatchReader.from_batches(rows().schema, batches()))
    assert read == []
    assert answer.read_next_batch().num_rows == 2
    assert read == [2]


def test_probabilities_are_in_the_order_of_the_classes(loaded: tuple[lethe.SavedModel, nn.Module]) -> None:
    model, module = loaded
    got = model.predict(rows(), column="sold", probabilities="chances")
    shares = np.array(got["chances"].to_pylist())
    assert np.allclose(shares, outputs(module, rows()).softmax(dim=1).numpy(), atol=1e-6)
    assert [CLASSES[place] for place in shares.argmax(axis=1)] == got["sold"].to_pylist()
    frame = model.predict(rows().to_pandas(), probabilities=True)
    assert np.allclose(np.stack(frame["probabilities"]), shares)


def test_no_rows_are_no_predictions(loaded: tuple[lethe.SavedModel, nn.Module]) -> None:
    got = loaded[0].predict(rows().slice(0, 0), probabilities=True)
    assert got.num_rows == 0
    assert got.schema.field("prediction").type == pa.string()
    assert loaded[0].predict(rows().to_pandas().iloc[:0]).empty


def signature(task: str, **changes: Any) -> Signature:
    numbers = preprocessing(categories={"city": ["Bern", "Oslo", "Rome"]})
    return Signature(numbers, COLUMNS, task=task, **changes)


def test_what_outputs_mean_is_the_task_s(tmp_path: Path) -> None:
    logit, one = result(outputs=1, signature=signature("binary", flag=True))
    path = logit.save(tmp_path / "one")
    numbers = outputs(one, rows())[:, 0]
    got = lethe.load(path).predict(rows(), probabilities=True)
    assert got["prediction"].to_pylist() == (numbers > 0).tolist()
    assert np.allclose(np.array(got["probabilities"].to_pylist())[:, 1], numbers.sigmoid().numpy(), atol=1e-6)
    value = lethe.load(path, task="regression").predict(rows())["prediction"]
    assert value.type == pa.float64()
    assert np.allclose(value.to_numpy(), numbers.numpy(), atol=1e-6)
    three, module = result(signature=signature("classification"))
    path = three.save(tmp_path / "three", task="output")
    lists = lethe.load(path).predict(rows())["prediction"].to_pylist()
    assert np.allclose(lists, outputs(module, rows()).numpy(), atol=1e-6)
    classes = lethe.load(path, task="classification").predict(rows())["prediction"]
    assert classes.to_pylist() == outputs(module, rows()).argmax(dim=1).tolist()
    with pytest.raises(
        lethe.ModelError, match=r"shape \[7, 3\], and the task 'binary' needs one number a row"
    ):
        lethe.load(path, task="binary").predict(rows())
    with pytest.raises(lethe.ConfigError, match="task must be one of"):
        lethe.load(path, task="guess")
    with pytest.raises(lethe.ConfigError, match="'regression' has no probabilities"):
        lethe.load(path, task="regression").predict(rows(), probabilities=True)


@pytest.mark.parametrize("pandas", [False, True])
@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"city": None}, "no column 'city'; did you mean"),
        ({"city": [1] * 7}, "'city' was string in training and is int64 here; cast it to string"),
        ({"area": ["a"] * 7}, "'area' was double in training and is (large_)?string here; cast it"),
        ({"city": ["Oslo"] * 6 + ["Paris"]}, "category 'Paris', which training did not have; .*unknown=-1"),
        ({"rooms": [1, None, 3, 4, None, 6, 7]}, "'rooms' has 2 nulls; fill them"),
        ({"rooms": [None] * 7}, "'rooms' has 7 nulls"),
        ({"prediction": [0] * 7}, "have a column 'prediction' already; give the new one another name"),
    ],
)
def test_rows_that_it_cannot_take_are_named(
    loaded: tuple[lethe.SavedModel, nn.Module], change: dict[str, Any], problem: str, pandas: bool
) -> None:
    given = {**rows().to_pydict(), **change}
    table = pa.table(
        {name: values for name, values in given.items() if values is not None} | ({"cities": [1] * 7})
    )
    with pytest.raises(lethe.DataError, match=problem):
        loaded[0].predict(table.to_pandas() if pandas else table)


def test_columns_of_mixed_values_are_an_error_that_names_the_place(
    loaded: tuple[lethe.SavedModel, nn.Module],
) -> None:
    frame = rows().to_pandas().astype({"rooms": object, "id": object})
    frame.loc[3, "id"] = 5
    assert len(loaded[0].predict(frame)) == 7, "the model does not read that one"
    frame.loc[3, "rooms"] = "four"
    with pytest.raises(lethe.DataError, match=r"column of no one type: .*rooms"):
        loaded[0].predict(frame)


def test_nan_is_no_class(loaded: tuple[lethe.SavedModel, nn.Module]) -> None:
    """pandas has nulls there, which Spark may not have."""
    table = rows().set_column(1, "area", pa.array([1.0, float("nan"), 3.0] + [0.0] * 4))
    with pytest.raises(lethe.ModelError, match="NaN for 1 of 7 rows, which is no class; do their columns"):
        loaded[0].predict(table)
    with pytest.raises(lethe.DataError, match="'area' has 1 nulls"):
        loaded[0].predict(table.to_pandas())


def test_dates_are_taken_as_in_training(tmp_path: Path) -> None:
    """pandas has times where Parquet had dates: days since 1970 must not become seconds."""
    one = {"name": "features", "columns": ["born"], "dtype": "float32", "shape": [1], "normalize": []}
    days = preprocessing(inputs=[one], dates=["born"], means={}, deviations={}, categories={})
    found, _ = result(
        lambda hparams: nn.Linear(1, 1),
        signature=Signature(days, pa.schema([("born", pa.date32())]), task="output"),
    )
    model = lethe.load(found.save(tmp_path / "dates"))
    day = datetime.date(1970, 1, 11)
    table = pa.table({"born": [day]})
    weight, bias = (float(tensor) for tensor in model.state_dict().values())
    for given in (table, table.cast(pa.schema([("born", pa.timestamp("us"))])).to_pandas()):
        (got,) = pa.array(model.predict(given)["prediction"]).to_pylist()
        assert got == [pytest.approx(10 * weight + bias)]


def test_queries_of_the_dataset_run_on_raw_rows_without_a_label(tmp_path: Path) -> None:
    pytest.importorskip("datafusion", reason="the package datafusion runs a dataset's queries on raw rows")
    found, module = result(
        signature=Signature(
            preprocessing(queries=["select area / rooms as area, rooms, city, sold from dataset"]),
            COLUMNS.append(pa.field("sold", pa.string())),
            ("sold",),
            "classification",
        )
    )
    model = lethe.load(found.save(tmp_path / "queried"))
    assert list(model.columns) == ["area", "rooms", "city"]
    many = pa.concat_tables([rows()] * 4000).set_column(2, "rooms", pa.array([1.0, 2.0] * 14000))
    divided = many.set_column(1, "area", pa.array(many["area"].to_numpy() / many["rooms"].to_numpy()))
    assert model.predict(many, batch_size=20000)["prediction"].to_pylist() == expected(module, divided)
    half = pa.table({**rows().to_pydict(), "rooms": [1.5] * 7})
    with pytest.raises(
        lethe.DataError, match="'rooms' was int32 in training and is double here, and does not fit"
    ):
        model.predict(half)
    some = preprocessing(queries=["select * from dataset where rooms > 1"])
    less, _ = result(signature=Signature(some, COLUMNS, task="classification"))
    with pytest.raises(lethe.DataError, match="make 3 rows of 7, and predict needs one for each"):
        lethe.load(less.save(tmp_path / "less")).predict(rows())


def test_a_process_makes_the_module_once(
    loaded: tuple[lethe.SavedModel, nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an interpreter of Spark does, which gets the function anew for each task."""
    model, _ = loaded
    assert model._signature is not None
    assert model._program is not None
    monkeypatch.setattr(predictor_module, "_modules", type(predictor_module._modules)())
    first = Predictor(*model._program, model._signature)
    again = pickle.loads(pickle.dumps(first))
    assert again.module() is first.module()
    wanted = wanted_of(model._signature, "prediction", False, None, 2)
    assert [piece.num_rows for piece, _ in again.columns(rows(), wanted)] == [2, 2, 2, 1]


def test_a_model_without_a_dataset_is_a_module(tmp_path: Path) -> None:
    found, module = result()
    found._training = type(found._training)("single", found._training.plan, None)  # type: ignore[union-attr,call-arg]
    model = lethe.load(found.save(tmp_path / "bare"))
    assert (model.columns, model.inputs, model.task, model.preprocessing) == ({}, {}, None, None)
    assert torch.equal(model.module()(torch.ones(2, 3)), module(torch.ones(2, 3)))
    with pytest.raises(lethe.DataError, match="trained without a dataset"):
        model.predict(rows())


class Branching(nn.Module):
    """More Python than TorchScript knows."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.layer = nn.Linear(3, outputs)

    def forward(self, x: torch.Tensor, **options: Any) -> torch.Tensor:
        return self.layer(x)


def branching(hparams: dict[str, Any]) -> nn.Module:
    return Branching(hparams["outputs"])


def test_what_cannot_be_scripted_keeps_its_weights_and_takes_its_generator(tmp_path: Path) -> None:
    found, module = result(branching)
    with pytest.warns(UserWarning, match="saved without TorchScript.*model=make_model"):
        path = found.save(tmp_path / "python")
    model = lethe.load(path)
    assert torch.equal(model.state_dict()["layer.weight"], module.state_dict()["layer.weight"])
    assert list(model.columns) == COLUMNS.names
    with pytest.raises(lethe.ModelError, match=r"saved without TorchScript \(.*give its generator"):
        model.predict(rows())
    assert lethe.load(path, model=branching).predict(rows())["prediction"].to_pylist() == expected(
        module, rows()
    )
    with pytest.raises(lethe.ModelError, match="not those of this model"):
        lethe.load(path, model=net).predict(rows())
