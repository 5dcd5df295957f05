"""Batches are asked for as the protocol says, cut and converted without a change of a value."""

import sys
import types
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from data_server import Owner, Server, serving

import lethe
from lethe.application.application import Stored
from lethe.dataset import dataset as module

ROWS = 10
SCHEMA = pa.schema(
    [
        pa.field("image", pa.list_(pa.field("item", pa.float32(), False), 4), False),
        pa.field("flags", pa.list_(pa.field("item", pa.bool_(), False), 2), False),
        pa.field("label", pa.int64(), False),
        pa.field("weight", pa.float32(), False),
    ]
)


def batch(begin: int, end: int) -> pa.RecordBatch:
    n = end - begin
    image = pa.array(np.arange(begin * 4, end * 4, dtype=np.float32))
    flags = pa.array([i % 3 == 0 for i in range(begin * 2, end * 2)])
    columns = [
        pa.FixedSizeListArray.from_arrays(image, type=SCHEMA.field("image").type),
        pa.FixedSizeListArray.from_arrays(flags, type=SCHEMA.field("flags").type),
        pa.array(range(begin, end), pa.int64()),
        pa.array(np.ones(n, np.float32)),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Server, Owner]]:
    with serving() as (server, owner):
        monkeypatch.setattr(module, "application", lambda session: owner)
        server.answers["rows"] = lambda ticket: [batch(0, 3), batch(3, 9), batch(9, ROWS)]
        server.answers["batches"] = lambda ticket: [batch(4, 8), batch(0, 4), batch(8, ROWS)]
        sections = [("image", "float32", [2, 2]), ("flags", "bool", [2])]
        server.described = {
            "columns": [],
            "inputs": [{"name": n, "dtype": d, "shape": s, "offset": 0} for n, d, s in sections],
        }
        yield server, owner


@pytest.fixture
def data(served: tuple[Server, Owner]) -> lethe.Dataset:
    table = pa.table(
        {
            "pixels": pa.array([[1.0] * 4] * ROWS),
            "a": [True] * ROWS,
            "b": [True] * ROWS,
            "y": list(range(ROWS)),
            "w": [1.0] * ROWS,
        }
    )
    found = lethe.Dataset.from_arrow(
        table, {"image": lethe.Input("pixels", shape=(2, 2)), "flags": ["a", "b"]}, "y", weight="w"
    )
    # As if it had been put.
    served[1].stored[found.source.name] = Stored(found.source.name, ROWS, 0)
    return found


def test_training_batches_come_shuffled_by_the_executor(
    data: lethe.Dataset, served: tuple[Server, Owner]
) -> None:
    found = list(data.train.batches(4, seed=9, epoch=2, drop_last=True, rank=1, world=2))
    assert [one["label"].tolist() for one in found] == [[4, 5, 6, 7], [0, 1, 2, 3], [8, 9]]
    assert {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in found[0].items()} == {
        "image": (torch.float32, (4, 2, 2)),
        "flags": (torch.bool, (4, 2)),
        "label": (torch.int64, (4,)),
        "weight": (torch.float32, (4,)),
    }
    assert found[0]["image"][1].flatten().tolist() == [20.0, 21.0, 22.0, 23.0]
    assert found[0]["flags"].flatten().tolist() == [i % 3 == 0 for i in range(8, 16)]
    (ticket,) = served[0].called("get")
    assert ticket["epoch"] == {
        "seed": 9,
        "epoch": 2,
        "batch_size": 4,
        "drop_last": True,
        "shard": {"rank": 1, "world": 2},
    }
    assert ticket["data"] == data.on().spec(None)


def test_rows_in_order_are_cut_into_batches_and_slices_of_ranks(data: lethe.Dataset) -> None:
    def labels(**how: Any) -> list[list[int]]:
        return [one["label"].tolist() for one in data.train.batches(4, shuffle=False, form="numpy", **how)]

    assert labels() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert labels(drop_last=True) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    slices = [labels(rank=rank, world=3) for rank in range(3)]
    assert slices[0] == [[0], [4], []]
    assert [[row for one in slices for row in one[step]] for step in range(3)] == labels()


def test_other_parts_come_in_order_and_are_not_shuffled(
    data: lethe.Dataset, served: tuple[Server, Owner]
) -> None:
    part = data.split(0.4).validation
    assert len(list(part.batches(5))) == 2
    assert served[0].called("get")[0]["part"] == "validation"
    with pytest.raises(lethe.DataError, match="only the training rows are shuffled"):
        part.batches(5, shuffle=True)


def test_tensors_share_the_memory_of_what_came_and_warn_of_nothing(data: lethe.Dataset) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first = next(data.train.batches(4))
    assert first["image"].flatten().tolist() == batch(4, 8).column("image").flatten().to_pylist()
    from lethe.dataset.tensors import to_numpy, to_torch

    column = batch(0, 8).slice(2, 4).column("image")
    assert to_torch(column).data_ptr() == column.values.buffers()[1].address + 2 * 4 * 4
    assert to_numpy(column, (2, 2)).base is not None
    assert to_torch(column.slice(0, 0)).shape == (0, 4)


@pytest.mark.parametrize(
    ("how", "problem"),
    [
        ({"batch_size": 0}, "batch_size must be a whole number from 1"),
        ({"epoch": 0}, "epoch must be"),
        ({"seed": -1}, "seed must be"),
        ({"rank": 2, "world": 2}, "rank must be a whole number from 0, below 2"),
        ({"form": "tf"}, "form must be one of torch, numpy, arrow"),
    ],
)
def test_arguments_are_checked_before_anything_is_read(
    data: lethe.Dataset, how: dict[str, Any], problem: str
) -> None:
    with pytest.raises(lethe.DataError, match=problem):
        data.train.batches(**{"batch_size": 4, **how})


def test_arrow_s_batches_are_handed_over_as_they_are(data: lethe.Dataset) -> None:
    assert next(data.train.batches(4, form="arrow")).equals(batch(4, 8))


def test_a_dataloader_counts_its_epochs(data: lethe.Dataset, served: tuple[Server, Owner]) -> None:
    loader = data.train.to_dataloader(4, seed=9, epoch=3)
    for _ in range(2):
        assert [one["label"].tolist() for one in loader] == [[4, 5, 6, 7], [0, 1, 2, 3], [8, 9]]
    assert [ticket["epoch"]["epoch"] for ticket in served[0].called("get")] == [3, 4]
    with pytest.raises(lethe.ConfigError, match="leave out num_workers"):
        data.train.to_dataloader(4, num_workers=2)


def test_keras_gets_inputs_label_and_weight(
    data: lethe.Dataset, served: tuple[Server, Owner], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a stand-in for TensorFlow that keeps what it is given."""

    def from_generator(generator: Any, output_signature: Any) -> Any:
        return types.SimpleNamespace(read=lambda: list(generator()), signature=output_signature)

    fake = types.ModuleType("tensorflow")
    for name, value in {
        "TensorSpec": lambda shape, dtype: (shape, dtype),
        "float32": "f4",
        "bool": "b1",
        "int64": "i8",
        "data": types.SimpleNamespace(Dataset=types.SimpleNamespace(from_generator=from_generator)),
    }.items():
        setattr(fake, name, value)
    monkeypatch.setitem(sys.modules, "tensorflow", fake)
    found = data.train.to_tf(4)
    assert found.signature == (
        {"image": ((None, 2, 2), "f4"), "flags": ((None, 2), "b1")},
        ((None,), "i8"),
        ((None,), "f4"),
    )
    inputs, label, weight = found.read()[0]
    assert inputs["image"].shape == (4, 2, 2)
    assert (label.tolist(), weight.tolist()) == ([4, 5, 6, 7], [1.0] * 4)
    found.read()
    assert [ticket["epoch"]["epoch"] for ticket in served[0].called("get")] == [1, 2]
    # Where rows are drawn by weight, batches have none.
    assert len(data.sample_by_weight().train.to_tf(4).signature) == 2


def test_without_tensorflow_its_installation_is_the_remedy(
    data: lethe.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(lethe.InstallError, match="pip install tensorflow"):
        data.train.to_tf(4)


def test_a_whole_part_is_a_dictionary_where_inputs_have_names(data: lethe.Dataset) -> None:
    found = data.train.to_torch()
    assert list(found) == ["image", "flags", "label", "weight"]
    assert found["image"].shape == (ROWS, 2, 2)
    found["image"][0] = 7  # its own memory
    assert data.train.to_numpy()["label"].tolist() == list(range(ROWS))


def test_what_an_executor_says_of_the_data_is_the_error(
    data: lethe.Dataset, served: tuple[Server, Owner]
) -> None:
    def refused(ticket: dict[str, Any]) -> Any:
        raise pa.ArrowInvalid('column "age" has 3 nulls: fill or drop them')

    served[0].answers |= {"rows": refused, "batches": refused}
    for read in (data.train.to_arrow, lambda: list(data.train.batches(4))):
        with pytest.raises(lethe.DataError, match=r'^column "age" has 3 nulls: fill or drop them$'):
            read()


def test_a_stream_that_breaks_goes_on_from_another_executor(
    data: lethe.Dataset, served: tuple[Server, Owner], monkeypatch: pytest.MonkeyPatch
) -> None:
    from lethe.dataset import read

    server, owner = served
    tries = []

    def breaking(ticket: dict[str, Any]) -> Iterator[pa.RecordBatch]:
        tries.append(ticket)
        yield batch(4, 8)
        if len(tries) == 1:
            raise RuntimeError("gone")
        yield batch(0, 4)

    server.answers["batches"] = breaking
    monkeypatch.setattr(read, "holders", lambda *_: [owner.executor(), owner.executor()])
    assert [one["label"].tolist() for one in data.train.batches(4)] == [[4, 5, 6, 7], [0, 1, 2, 3]]
    assert len(tries) == 2


@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_with_rows_of_its_own_spreads_them_over_all_steps(rank: int) -> None:
    from lethe.dataset.batches import Batching

    own = (ROWS, 3)
    batching = Batching(4, shuffle=False, rank=rank, world=2, own=own)
    found = list(batching.cut([batch(0, 2), batch(2, own[rank])]))
    assert [one.num_rows for one in found] == [[2, 3, 2, 3], [0, 1, 1, 1]][rank]
    assert pa.Table.from_batches(found)["label"].to_pylist() == list(range(own[rank]))
    assert list(batching.rows(own[rank])) == [2, 4, 3, 4]
