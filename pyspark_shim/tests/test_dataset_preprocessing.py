"""Raw rows become what the model was trained on, without any process; strange ones are errors."""

import datetime
import json
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from data_server import serving

import lethe
from lethe.application.application import Stored
from lethe.dataset import dataset as module

LEARNED = pa.table(
    {
        "column": ["age", "age", "pixels", "pixels", "pixels", "pixels", "city", "city", "digit", "digit"],
        "kind": ["mean", "deviation", "mean", "mean", "deviation", "deviation", *["category"] * 4],
        "index": [0, 0, 1, 0, 0, 1, 1, 0, 0, 1],
        "number": [30.0, 10.0, 2.0, 1.0, 0.5, 1.0, None, None, None, None],
        "text": [None] * 6 + ["Rome", "Oslo", "no", "yes"],
    }
)
INPUTS = [
    {"name": "facts", "columns": ["age", "city"], "dtype": "float32", "shape": [2], "normalize": ["age"]},
    {"name": "image", "columns": ["pixels"], "dtype": "float32", "shape": [1, 2], "normalize": ["pixels"]},
    {"name": "id", "columns": ["id"], "dtype": "int64", "shape": [1], "normalize": []},
]


def learned(**changes: Any) -> lethe.Preprocessing:
    return lethe.Preprocessing(
        **{
            "inputs": INPUTS,
            "label": "digit",
            "means": {"age": [30.0], "pixels": [1.0, 2.0]},
            "deviations": {"age": [10.0], "pixels": [0.5, 1.0]},
            "categories": {"city": ["Oslo", "Rome"], "digit": ["no", "yes"]},
            **changes,
        }
    )


def rows(**changes: Any) -> pa.Table:
    return pa.table(
        {
            "id": pa.array([2**53 + 1, 2]),
            "age": [40, 20],
            "city": ["Rome", "Oslo"],
            "pixels": [[1.5, 2.0], [0.0, 5.0]],
            **changes,
        }
    )


def test_it_is_read_from_an_executor_by_the_dataset_s_spec(monkeypatch: pytest.MonkeyPatch) -> None:
    table = rows(digit=["no", "yes"])
    with serving() as (server, owner):
        monkeypatch.setattr(module, "application", lambda session: owner)
        server.answers["preprocessing"] = lambda ticket: LEARNED.to_batches()
        server.described = {"inputs": [{**one, "offset": 0} for one in INPUTS]}
        features = {
            "facts": lethe.Input(["age", "city"], dtype="float32"),
            "image": lethe.Input("pixels", shape=(1, 2)),
            "id": lethe.Input("id", dtype="int64"),
        }
        data = lethe.Dataset.from_arrow(table, features, "digit", fill={"age": 0}).normalize()
        data = data.filter("age > 0").with_column("id", "id + 1")
        owner.stored[data.source.name] = Stored(data.source.name, 2, 0)
        found = data.preprocessing()
        assert server.called("get") == [{"type": "preprocessing", "data": data.on().spec(None)}]
    assert found == learned(fill={"age": 0}, queries=['select * replace (id + 1 as "id") from dataset'])
    assert found.classes == ["no", "yes"]


def test_rows_become_the_model_s_inputs() -> None:
    found = learned().apply(rows())
    assert found["facts"].tolist() == [[1.0, 1.0], [-1.0, 0.0]]
    assert found["image"].tolist() == [[[1.0, 0.0]], [[-2.0, 3.0]]]
    assert found["id"].tolist() == [[2**53 + 1], [2]]
    assert {name: array.dtype for name, array in found.items()} == {
        "facts": np.float32,
        "image": np.float32,
        "id": np.int64,
    }
    tensors = learned().apply(rows().to_pandas(), form="torch")
    assert all(torch.equal(tensors[name], torch.from_numpy(found[name])) for name in found)


def test_nulls_dates_decimals_and_nested_arrays_are_taken_as_in_training() -> None:
    inputs = [
        {"name": "a", "columns": ["born", "seen", "price"], "dtype": "float64", "shape": [3]},
        {"name": "b", "columns": ["grid"], "dtype": "uint8", "shape": [2, 2]},
    ]
    inputs = [{**one, "normalize": []} for one in inputs]
    seen = datetime.datetime(1970, 1, 1, 0, 1, 0, 900000)
    found = lethe.Preprocessing(inputs, dates=["born", "seen"], fill={"price": 1.5, "born": 3}).apply(
        pa.table(
            {
                "born": [datetime.date(1970, 1, 2), None],
                "seen": pa.array([seen] * 2, pa.timestamp("us", "UTC")),
                "price": pa.array([None, Decimal("0.25")], pa.decimal128(10, 2)),
                "grid": [[[1, 2], [3, 4]]] * 2,
            }
        )
    )
    assert found["a"].tolist() == [[1.0, 60.0, 1.5], [3.0, 60.0, 0.25]]
    assert found["b"].tolist() == [[[1, 2], [3, 4]]] * 2


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"age": [None, 1]}, "'age' has 1 nulls"),
        ({"city": ["Rome", "Paris"]}, "'city' has the category 'Paris', which training did not have"),
        ({"city": [1, 2]}, "'city' was strings in training and is int64 here"),
        ({"age": ["a", "b"]}, "'age' has type string, which is not numbers"),
        ({"pixels": [[1.0, 2.0], [1.0]]}, "'pixels' has arrays of 1 to 2 elements"),
        ({"pixels": [[1.0, None], [1.0, 2.0]]}, "arrays of column 'pixels' have 1 nulls"),
        ({"id": [[1, 2], [3, 4]]}, "'id' needs 1 numbers a row, and these rows have 2"),
    ],
)
def test_rows_that_the_model_cannot_take_are_named(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(lethe.DataError, match=problem):
        learned().apply(rows(**changes))


def test_a_missing_column_is_named_and_a_strange_category_may_have_a_number() -> None:
    with pytest.raises(lethe.DataError, match="no column 'city'"):
        learned().apply(rows().drop_columns("city"))
    found = learned().apply(rows(city=["Paris", "Oslo"]), unknown=-1)
    assert found["facts"][:, 1].tolist() == [-1.0, 0.0]
    assert learned().apply(rows().slice(0, 0))["image"].shape == (0, 1, 2)


def test_queries_need_the_package_that_runs_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datafusion", None)
    with pytest.raises(lethe.InstallError, match="pip install datafusion"):
        learned(queries=["select * from dataset"]).apply(rows())


def test_queries_run_on_raw_rows() -> None:
    pytest.importorskip("datafusion", reason="the package datafusion runs a dataset's queries on raw rows")
    query = 'select * replace (age * 2 as "age") from dataset'
    assert learned(queries=[query]).apply(rows())["facts"][:, 0].tolist() == [5.0, 1.0]
    with pytest.raises(lethe.DataError, match="failed on these rows"):
        learned(queries=["select nothing from dataset"]).apply(rows())


def test_it_is_kept_as_json(tmp_path: Path) -> None:
    path = tmp_path / "preprocessing.json"
    kept = learned(fill={"city": "Oslo", "age": 0}, queries=["select 1"])
    assert kept.save(path) == str(path)
    assert json.loads(path.read_text())["format"] == 1
    assert lethe.Preprocessing.load(path) == kept
    path.write_text('{"format": 2}')
    with pytest.raises(lethe.DataError, match="is no saved Preprocessing: of another format"):
        lethe.Preprocessing.load(path)
    with pytest.raises(lethe.DataError, match="is no saved Preprocessing"):
        lethe.Preprocessing.load(tmp_path / "other.json")


def test_an_experiment_s_folder_gives_it_back(tmp_path: Path) -> None:
    assert lethe.open(tmp_path).preprocessing is None
    learned().save(tmp_path / "preprocessing.json")
    assert lethe.open(tmp_path).preprocessing == learned()


def test_a_column_of_two_inputs_is_learned_once() -> None:
    from lethe.dataset.preprocessing import learned as read

    once = read(LEARNED)
    assert read(pa.concat_tables([LEARNED, LEARNED])) == once
    assert once["means"] == {"age": [30.0], "pixels": [1.0, 2.0]}
