"""A dataset travels as the protocol says, and no column is put that nobody needs."""

import datetime
import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import lethe
from lethe.dataset.query import mentions

PAGE = Path(__file__).parents[2] / "docs" / "protocol.md"


def examples(message: str) -> list[Any]:
    """The recorded messages of the protocol page."""
    return [
        json.loads(text)
        for text in re.findall(rf"```json {message}\n(.*?)\n```", PAGE.read_text(), re.DOTALL)
    ]


def table() -> pa.Table:
    return pa.table(
        {
            "pixels": pa.array([[1] * 64, [2] * 64], pa.list_(pa.int8())),
            "age": pa.array([1, None], pa.int32()),
            "city": pa.array(["a", None]),
            "Height": pa.array([1.5, 2.5]),
            "born": pa.array([datetime.date(2000, 1, 1)] * 2),
            "digit": pa.array([0, 1], pa.int32()),
            "w": pa.array([1.0, 2.0], pa.float32()),
            "id": pa.array([7, 8]),
        }
    )


class Owner:
    """An application that must not be asked for anything."""

    stored: dict[str, Any] = {}  # noqa: RUF012
    session = None


def spec(data: lethe.Dataset, loss: str | None = None) -> dict[str, Any]:
    found = data.on(Owner()).spec(loss)  # type: ignore[arg-type]
    assert found.pop("dataset") == data.source.name
    return found


def named(example: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in example.items() if name != "dataset"}


def test_everything_at_once_travels_as_the_protocol_page_says() -> None:
    data = (
        lethe.Dataset.from_arrow(
            table().rename_columns([name.lower() for name in table().column_names]),
            {
                "image": lethe.Input("pixels", shape=(1, 8, 8)),
                "facts": lethe.Input(["age", "city"], dtype="float32"),
            },
            "digit",
            weight="w",
            key="id",
        )
        .filter("height > 0")
        .normalize("age")
        .split(0.2, test=0.1, seed=7, stratify="digit")
        .balance()
        .shuffle(blocks=4096)
    )
    (example,) = examples("DescribeDataset")
    assert spec(data, "cross_entropy") == named(example["data"])


def test_features_and_a_random_split_travel_as_before() -> None:
    data = lethe.Dataset.from_arrow(table(), features="pixels", label="digit").split(validation=0.2, seed=7)
    plan = examples("Plan")[0]
    assert spec(data, "cross_entropy") == named(plan["data"])
    assert spec(data, "mse")["label"]["kind"] == "value"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"by": "city"}, {"type": "column", "column": "city"}),
        (
            {"test": 0.5, "group": "id"},
            {"type": "grouped", "column": "id", "validation": 0.0, "test": 0.5, "seed": 0},
        ),
        (
            {"validation": 0.25, "test": 0.25, "time": "born"},
            {"type": "time", "column": "born", "validation": 0.25, "test": 0.25},
        ),
    ],
)
def test_each_kind_of_split_travels(arguments: dict[str, Any], message: dict[str, Any]) -> None:
    data = lethe.Dataset.from_arrow(table(), "age", "digit").split(**arguments)
    assert spec(data)["split"] == message
    assert data.has_validation == (arguments.get("validation") is not None or "by" in arguments)


def test_the_order_travels_only_where_it_is_not_the_usual() -> None:
    data = lethe.Dataset.from_arrow(table(), "age", "digit", weight="w")
    assert "order" not in spec(data.shuffle())
    assert spec(data.shuffle(False))["order"] == {"sampling": "each", "shuffle": {"type": "off"}}
    both = data.sample_by_weight().shuffle(blocks=9, window=2)
    assert spec(both)["order"] == {
        "sampling": "weighted",
        "shuffle": {"type": "blocks", "rows": 9, "window": 2},
    }


def test_nulls_and_dates_become_one_query() -> None:
    data = lethe.Dataset.from_arrow(
        table(), ["age", "Height", "city", "born"], "digit", fill=0, drop=["city"], dates="number"
    )
    assert spec(data)["queries"] == [
        "select * replace (coalesce(arrow_cast(\"born\", 'Int32'), arrow_cast(0, 'Int32')) as \"born\", "
        'coalesce("age", arrow_cast(0, \'Int32\')) as "age", '
        'coalesce("Height", arrow_cast(0, \'Float64\')) as "Height") '
        'from dataset where "city" is not null'
    ]


def test_rows_with_nulls_go_unless_they_are_filled() -> None:
    data = lethe.Dataset.from_arrow(table(), ["age", "city"], "digit", fill={"city": "it's"}, drop=True)
    assert spec(data)["queries"] == [
        "select * replace (coalesce(\"city\", 'it''s') as \"city\") from dataset "
        'where "age" is not null and "digit" is not null'
    ]
    assert spec(lethe.Dataset.from_arrow(table(), "city", fill="?"))["queries"] == [
        'select * replace (coalesce("city", \'?\') as "city") from dataset'
    ]


def test_a_column_that_is_made_is_a_feature_and_one_that_is_there_is_replaced() -> None:
    data = lethe.Dataset.from_arrow(table(), ["age"], "digit").with_column('the "b"', "age * 2;")
    assert spec(data) == {
        "queries": ['select *, age * 2 as "the ""b""" from dataset'],
        "inputs": [{"name": "features", "columns": ["age", 'the "b"'], "dtype": "float32"}],
        "label": {"column": "digit", "kind": "class"},
    }
    replaced = spec(data.with_column("age", "age + 1").with_column("digit", "digit % 2"), "cross_entropy")
    assert replaced["queries"][1:] == [
        'select * replace (age + 1 as "age") from dataset',
        'select * replace (digit % 2 as "digit") from dataset',
    ]
    assert replaced["inputs"] == spec(data)["inputs"]


def test_inputs_with_names_are_told_which_one_gets_a_column() -> None:
    data = lethe.Dataset.from_arrow(table(), {"image": "pixels", "facts": ["age", "city"]}, "digit")
    with pytest.raises(lethe.DataError, match="say of which input 'ab' is to be"):
        data.with_column("ab", "age * 2")
    more = spec(data.with_column("ab", "age * 2", input="facts").drop("age"))
    assert more["inputs"] == [
        {"name": "image", "columns": ["pixels"]},
        {"name": "facts", "columns": ["city", "ab"]},
    ]
    assert [one["name"] for one in spec(data.select("city"))["inputs"]] == ["facts"]


def test_all_numbers_are_normalized_and_neither_categories_nor_booleans() -> None:
    data = lethe.Dataset.from_arrow(
        table().append_column("yes", pa.array([True, False])),
        {
            "facts": lethe.Input(["age", "city", "yes"], dtype="float32"),
            "image": "pixels",
            "ids": lethe.Input("id", dtype="int64"),
        },
        "digit",
    )
    found = spec(data.normalize())
    assert [one.get("normalize") for one in found["inputs"]] == [["age"], ["pixels"], None]


def test_columns_that_nobody_has_named_are_checked_when_they_are_used() -> None:
    data = lethe.Dataset.from_arrow(table(), label="digit")
    with pytest.raises(lethe.DataError, match="the feature 'born' has type date32"):
        spec(data)
    assert spec(data.drop("born", "city").select("age"))["inputs"][0]["columns"] == ["age"]
    typed = lethe.Dataset.from_arrow(table(), lethe.Input(["age", "id"], dtype="int64"))
    assert spec(typed.select("id"))["inputs"] == [{"name": "features", "columns": ["id"], "dtype": "int64"}]


def put(data: lethe.Dataset) -> list[str]:
    return data.source.columns


def test_only_what_is_needed_is_put() -> None:
    data = lethe.Dataset.from_arrow(table(), features="age", label="digit")
    assert put(data) == ["age", "digit"]
    assert put(data.split(0.5, group="id")) == ["age", "digit", "id"]
    assert put(data.filter('"Height" > 1')) == ["age", "Height", "digit"]
    assert put(data.with_column("x", "length(CITY)")) == ["age", "city", "digit"]
    assert put(data.sql("select age, digit from dataset where w > 0", features="age")) == [
        "age",
        "digit",
        "w",
    ]
    assert put(data.sql("select * from dataset", features="age")) == table().column_names
    assert put(
        lethe.Dataset.from_arrow(table().drop_columns("born"), label="digit").drop("city", "pixels")
    ) == [
        "age",
        "Height",
        "digit",
        "w",
        "id",
    ]


def test_what_was_put_serves_all_that_need_no_more() -> None:
    data = lethe.Dataset.from_arrow(table(), features=["age", "city"], label="digit")
    assert data.source is data.split(0.5).drop("city").source
    more = data.split(0.5, group="id")
    assert more.source is not data.source
    assert more.drop("age").split(0.5).source is data.source


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a * b > 2", {"a", "b"}),
        ("count(*) over (partition by b)", {"b"}),
        ("A + 'b' -- c", {"a"}),
        ('"a" /* b */', {"a"}),
        ("select *, a from dataset", None),
        ("select d.* from dataset d", None),
        ("select distinct on (a) * from dataset", None),
        ("select a, * exclude (b) from dataset", None),
        ("select a from dataset natural join (select b from dataset)", None),
        ("select 'unended from dataset", None),
        ("select (a)*2 as x from dataset", {"a"}),
        ("select ab, a1 from dataset", set()),
    ],
)
def test_a_query_s_columns_are_read_from_its_words(text: str, found: set[str] | None) -> None:
    assert mentions(text, ["a", "b", "c"]) == found
