"""Each type of a column, from each kind of source: what a model is given is what NumPy and pandas compute."""

import datetime
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather as pf
import pyarrow.parquet as pq
import pytest
import torch
from searches import search, training
from torch import nn

import lethe

pytestmark = pytest.mark.usefixtures("no_process_left")

ROWS = 40
random = np.random.default_rng(11)
WHOLE = {name: random.integers(0, 100, ROWS) for name in ("i8", "i16", "i32", "i64")}
SIGNED = {name: -values if name != "i64" else values * 2**33 for name, values in WHOLE.items()}
REAL = random.normal(0, 10, ROWS)
YES = random.random(ROWS) < 0.4
CITIES = [("Oslo", "Zürich", "", "bern", "東京")[i] for i in random.integers(0, 5, ROWS)]
DAYS = random.integers(-3000, 20000, ROWS)
#: Before 1970 too.
MICROS = random.integers(-(10**15), 10**15, ROWS)
PIXELS = random.random((ROWS, 3, 4, 2), dtype=np.float32)
VECTORS = random.normal(size=(ROWS, 5)).astype("float32")
CENTS = random.integers(-(10**6), 10**6, ROWS)


class Keeps(nn.Module):
    """Keeps the one batch that it is trained on."""

    def __init__(self, rows: int, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.register_buffer("seen", torch.zeros((rows, *shape), dtype=dtype))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.weight * x.float().mean()

    @torch.jit.export
    def training_step(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        x = batch["features"]
        self.seen.copy_(x)
        return self.weight.mean() * 0.5


def seen_by_a_model(data: lethe.Dataset, rows: int = ROWS) -> torch.Tensor:
    """All rows in the order of their numbers, as a trial gets them."""
    found = next(data.shuffle(False).train.batches(rows))["features"]

    def model(hparams: dict[str, Any]) -> nn.Module:
        return Keeps(rows, tuple(found.shape[1:]), found.dtype)

    what = search(
        1, metric="train_loss", direction="min", space=lethe.SearchSpace(lr=lethe.uniform(0.1, 0.2))
    )
    train = training(model=model, loss=None, metrics=[], epochs=1, batch_size=rows)
    result = lethe.lagom(train, data.shuffle(False), what, spark=False, slots=1, quiet=True)
    seen: torch.Tensor = result.best_model().seen
    torch.testing.assert_close(seen, found, rtol=0, atol=0)
    return seen


def times(unit: str) -> np.ndarray[Any, Any]:
    return MICROS.astype("datetime64[us]").astype(f"datetime64[{unit}]")


def decimals(scale: int) -> list[Decimal]:
    return [Decimal(int(cents)).scaleb(-scale) for cents in CENTS]


def nested(values: np.ndarray[Any, Any], kind: Callable[[pa.DataType], pa.DataType]) -> pa.Array:
    inner: pa.DataType = pa.from_numpy_dtype(values.dtype)
    for _ in values.shape[1:]:
        inner = kind(inner)
    return pa.array(values.tolist(), inner)


def whole_seconds(when: Any) -> np.ndarray[Any, Any]:
    """Since 1970, what is below a second cut off, as pandas has them."""
    nanoseconds = pd.Series(when).astype("datetime64[ns]").astype("int64").to_numpy()
    return np.sign(nanoseconds) * (np.abs(nanoseconds) // 10**9)


#: The column, and what a row of the tensor holds of it.
ARROW: dict[str, tuple[Any, Any]] = {
    **{
        f"{sign}int{bits}": (
            pa.array(np.abs(SIGNED[f"i{bits}"]) if sign else SIGNED[f"i{bits}"], f"{sign}int{bits}"),
            np.abs(SIGNED[f"i{bits}"]) if sign else SIGNED[f"i{bits}"],
        )
        for bits in (8, 16, 32, 64)
        for sign in ("", "u")
    },
    "float16": (pa.array(REAL.astype("float16")), REAL.astype("float16")),
    "float32": (pa.array(REAL.astype("float32")), REAL.astype("float32")),
    "float64": (pa.array(REAL), REAL),
    "decimal128": (pa.array(decimals(2), pa.decimal128(20, 2)), CENTS / 100),
    "decimal256": (pa.array(decimals(2), pa.decimal256(50, 2)), CENTS / 100),
    "bool": (pa.array(YES), YES),
    "string": (pa.array(CITIES), np.unique(CITIES, return_inverse=True)[1]),
    "large_string": (pa.array(CITIES, pa.large_string()), np.unique(CITIES, return_inverse=True)[1]),
    "string_view": (pa.array(CITIES, pa.string_view()), np.unique(CITIES, return_inverse=True)[1]),
    "dictionary": (pa.array(CITIES).dictionary_encode(), np.unique(CITIES, return_inverse=True)[1]),
    "date32": (pa.array(DAYS.astype("int32"), pa.int32()).cast(pa.date32()), DAYS),
    "date64": (pa.array(DAYS.astype("int32"), pa.int32()).cast(pa.date32()).cast(pa.date64()), DAYS),
    **{
        f"timestamp_{unit}": (pa.array(times(unit), pa.timestamp(unit)), whole_seconds(times(unit)))
        for unit in ("s", "ms", "us", "ns")
    },
    "timestamp_zone": (
        pa.array(times("us"), pa.timestamp("us", "Europe/Zurich")),
        whole_seconds(times("us")),
    ),
    "list": (nested(VECTORS, pa.list_), VECTORS),
    "large_list": (nested(VECTORS, pa.large_list), VECTORS),
    "fixed_size_list": (pa.array(VECTORS.tolist(), pa.list_(pa.float32(), 5)), VECTORS),
    "list_of_doubles": (nested(VECTORS.astype("float64"), pa.list_), VECTORS),
    "list_of_bytes": (nested((VECTORS * 10).astype("int8"), pa.list_), (VECTORS * 10).astype("int8")),
    "list_of_decimals": (
        pa.array([[cents, -cents] for cents in decimals(3)], pa.list_(pa.decimal128(20, 3))),
        np.stack([CENTS, -CENTS], 1) / 1000,
    ),
}


@pytest.mark.parametrize("kind", ARROW)
@pytest.mark.parametrize("source", ["arrow", "parquet", "ipc"])
def test_a_column_of_each_type_is_the_tensor_that_numpy_makes(kind: str, source: str, tmp_path: Path) -> None:
    column, expected = ARROW[kind]
    table = pa.table({"n": pa.array(range(ROWS)), "x": column})
    how: dict[str, Any] = {"features": "x", "dates": "number"}
    if source == "arrow":
        data = lethe.Dataset.from_arrow(table, **how)
    elif source == "ipc":
        pf.write_feather(table, tmp_path / "x.arrow", compression="zstd")
        data = lethe.Dataset.from_files(tmp_path / "x.arrow", **how)
    else:
        pq.write_table(table, tmp_path / "x.parquet", row_group_size=7)
        data = lethe.Dataset.from_files(tmp_path / "x.parquet", **how)
    batch = next(data.shuffle(False).train.batches(ROWS, form="numpy"))["features"]
    wanted = np.asarray(expected).reshape(ROWS, -1).astype("float32")
    assert batch.dtype == np.float32
    np.testing.assert_array_equal(batch, wanted)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_a_model_is_given_what_numpy_computes(dtype: str) -> None:
    names = [name for name, (_, value) in ARROW.items() if np.ndim(value) == 1]
    if dtype == "int64":
        names = [name for name in names if "int" in name or name in ("bool", "string", "date32")]
    table = pa.table({name: ARROW[name][0] for name in names})
    data = lethe.Dataset.from_arrow(table, {"features": lethe.Input(names, dtype=dtype)}, dates="number")
    expected = np.stack([np.asarray(ARROW[name][1]).astype(dtype) for name in names], 1)
    np.testing.assert_array_equal(seen_by_a_model(data).numpy(), expected)


@pytest.mark.parametrize("kind", [pa.list_, pa.large_list])
@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_images_keep_their_shape_or_get_another(kind: Any, dtype: str) -> None:
    pixels = PIXELS if dtype == "float32" else (PIXELS * 255).astype("uint8")
    table = pa.table({"image": nested(pixels, kind)})
    as_they_are = lethe.Dataset.from_arrow(table, {"features": "image"})
    seen = seen_by_a_model(as_they_are).numpy()
    assert seen.dtype == pixels.dtype
    np.testing.assert_array_equal(seen, pixels)
    flat = pa.table({"image": nested(pixels.reshape(ROWS, -1), kind)})
    shaped = lethe.Dataset.from_arrow(flat, {"features": lethe.Input("image", shape=(2, 3, 4))})
    np.testing.assert_array_equal(seen_by_a_model(shaped).numpy(), pixels.reshape(ROWS, 2, 3, 4))


def frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "small": WHOLE["i8"].astype("int8"),
            "large": SIGNED["i64"],
            "real": REAL,
            "yes": YES,
            "city": CITIES,
            "kind": pd.Categorical(CITIES),
            "when": times("ns"),
            "count": pd.array(WHOLE["i16"], "Int16"),
        },
        index=range(100, 100 + ROWS),
    )


def of_frame(frame: pd.DataFrame) -> np.ndarray[Any, Any]:
    """The frame as one float64 array."""
    cities = np.unique(frame["city"], return_inverse=True)[1]
    numbers = frame[["small", "large", "real", "yes"]].astype("float64").to_numpy()
    counts = frame["count"].astype("float64").to_numpy()
    return np.column_stack([numbers, cities, cities, whole_seconds(frame["when"]), counts])


def test_pandas_columns_are_what_pandas_computes() -> None:
    columns = list(frame().columns)
    data = lethe.Dataset.from_arrow(
        frame(), {"features": lethe.Input(columns, dtype="float64")}, dates="number"
    )
    np.testing.assert_array_equal(seen_by_a_model(data).numpy(), of_frame(frame()))
    labels = lethe.Dataset.from_arrow(frame(), ["small"], "kind").train.to_numpy()[1]
    assert labels.tolist() == np.unique(CITIES, return_inverse=True)[1].tolist()


@pytest.mark.parametrize("ending", ["csv", "json"])
def test_text_files_have_the_types_that_their_values_show(ending: str, tmp_path: Path) -> None:
    written = frame()[["small", "large", "real", "yes", "city"]].replace({"city": {"": "none"}})
    if ending == "csv":
        written.to_csv(tmp_path / "x.csv", index=False)
    else:
        written.to_json(tmp_path / "x.json", orient="records", lines=True, double_precision=15)
    data = lethe.Dataset.from_files(
        tmp_path / f"x.{ending}", {"features": lethe.Input(list(written), dtype="float64")}
    )
    found = data.train.to_numpy()[0]
    numbers = written[["small", "large", "real", "yes"]].astype("float64").to_numpy()
    np.testing.assert_allclose(found[:, :4], numbers, rtol=1e-13)
    assert found[:, 4].tolist() == np.unique(written["city"], return_inverse=True)[1].tolist()


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (pa.array([{"x": i} for i in range(ROWS)]), "'x' has type struct<x: int64>, which cannot be"),
        (pa.array([b"x"] * ROWS), "'x' has type binary, which cannot be"),
        (pa.array([["a"]] * ROWS), r"'x' has type list<item: string>.*cast"),
        (pa.array([[1.0] * (1 + i % 2) for i in range(ROWS)]), "x.*(equally long|have 1 to 2|elements)"),
        (pa.array([datetime.time(1)] * ROWS), "'x' has type time64"),
        (pa.nulls(ROWS), "'x' has type null"),
        (pa.array([None, 1.0] * (ROWS // 2)), '"?x"? has 20 nulls'),
        (pa.array([[1.0, None]] * ROWS), '"?x"? has .*nulls'),
    ],
)
def test_what_cannot_be_trained_on_is_an_error_that_names_the_column(column: pa.Array, said: str) -> None:
    with pytest.raises(lethe.DataError, match=said):
        lethe.Dataset.from_arrow(pa.table({"x": column}), "x").train.to_numpy()
