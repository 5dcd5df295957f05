"""Columns are checked before anything runs; errors name the column, its type and the remedy."""

import datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

import lethe
from lethe.dataset.columns import check_label, label_kind
from lethe.dataset.source import ArrowSource
from lethe.experiment.plan import check_name
from lethe.task.put import fitted


def table() -> pa.Table:
    return pa.table(
        {
            "pixels": pa.array([[1.0, 2.0], [3.0, 4.0]], pa.list_(pa.float32())),
            "age": pa.array([1, 2], pa.int32()),
            "member": pa.array([True, False]),
            "city": pa.array(["a", "b"]),
            "born": pa.array([datetime.date(2000, 1, 1)] * 2),
            "seen": pa.array([datetime.datetime(2000, 1, 1)] * 2, pa.timestamp("us")),
            "place": pa.array([{"x": 1}, {"x": 2}]),
            "price": pa.array([Decimal(1), Decimal(2)], pa.decimal128(10, 2)),
            "digit": pa.array([0, 1]),
        }
    )


def test_a_column_that_is_not_there_is_an_error_with_near_ones() -> None:
    with pytest.raises(lethe.DataError, match="there is no column 'pixel'; did you mean pixels") as caught:
        lethe.Dataset.from_arrow(table(), features="pixel", label="digit")
    assert "\n" not in str(caught.value)
    with pytest.raises(lethe.DataError, match="there are: pixels, age"):
        lethe.Dataset.from_arrow(table(), features="pixels", label="zzz")


@pytest.mark.parametrize(
    ("column", "remedy"),
    [("born", 'dates="number": days'), ("seen", 'dates="number"'), ("place", "leave it out of features")],
)
def test_a_feature_that_cannot_be_trained_on_is_an_error_with_a_remedy(column: str, remedy: str) -> None:
    with pytest.raises(lethe.DataError, match=f"the feature '{column}' has type .*{remedy}"):
        lethe.Dataset.from_arrow(table(), features=["age", column])


def test_a_column_is_named_once() -> None:
    with pytest.raises(lethe.DataError, match="'digit' is named twice"):
        lethe.Dataset.from_arrow(table(), features=["age", "digit"], label="digit")


@pytest.mark.parametrize("kind", [pa.float32(), pa.float64(), pa.list_(pa.int8())])
def test_cross_entropy_needs_classes(kind: pa.DataType) -> None:
    with pytest.raises(lethe.DataError, match=r"^the label 'y' has type .*, and cross_entropy needs .*cast"):
        check_label("y", kind, "cross_entropy")
    for classes in (pa.int8(), pa.bool_(), pa.string(), pa.dictionary(pa.int8(), pa.string())):
        check_label("y", classes, "cross_entropy")


def test_regression_takes_numbers_only() -> None:
    check_label("y", pa.float64(), "mse")
    with pytest.raises(lethe.DataError, match="'y' has type string, which is not a number"):
        check_label("y", pa.string(), "mse")


def test_how_a_label_travels_follows_the_loss() -> None:
    assert label_kind(pa.int64(), "cross_entropy") == "class"
    assert label_kind(pa.int64(), "binary_cross_entropy") == "value"
    assert label_kind(pa.int64(), None) == "class"
    assert label_kind(pa.float32(), None) == "value"
    assert label_kind(pa.string(), None) == "class"
    assert label_kind(pa.string(), "cross_entropy") == "class"


def test_batches_are_put_with_the_dataset_s_schema() -> None:
    coded = table().append_column("coded", pa.array(["x", "y"]).dictionary_encode())
    source = ArrowSource(coded, ["pixels", "age", "member", "coded"], "digit")
    found = fitted(source.table.to_batches()[0], source.schema)
    assert found.schema == source.schema
    assert found.column(2).to_pylist() == [True, False]
    assert found.column(3).type == pa.string(), "each put would have a dictionary of its own"


@pytest.mark.parametrize("validation", [0, 1, 1.5, -0.1])
def test_a_split_is_a_share(validation: float) -> None:
    with pytest.raises(lethe.DataError, match="share between 0 and 1"):
        lethe.Dataset.from_arrow(table(), features="age").split(validation=validation)


def test_without_a_split_there_is_no_validation_set() -> None:
    with pytest.raises(lethe.DataError, match="split it"):
        _ = lethe.Dataset.from_arrow(table(), features="age").validation


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "a b", "x" * 201])
def test_an_experiment_s_name_is_a_folder_s_name(name: str) -> None:
    with pytest.raises(lethe.ConfigError, match="the experiment's name"):
        check_name(name)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"validation": 0.2, "test": 0.9}, "leave nothing to train"),
        ({"test": 1.0}, "test is a share between 0 and 1"),
        ({}, "split needs a share"),
        ({"by": "city", "validation": 0.2}, "by='city' says itself"),
        ({"validation": 0.2, "group": "city", "time": "age"}, "one of by=, stratify=, group= and time="),
        ({"validation": 0.2, "time": "age", "seed": 1}, "draws nothing"),
        ({"validation": 0.2, "seed": -1}, "seed must be a whole number"),
        ({"validation": 0.2, "stratify": "town"}, "no column 'town'"),
    ],
)
def test_a_split_that_cannot_be_is_refused(arguments: dict[str, Any], problem: str) -> None:
    with pytest.raises(lethe.DataError, match=problem):
        lethe.Dataset.from_arrow(table(), features="age", label="digit").split(**arguments)


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda d: d.shuffle("off"), "takes True or False"),
        (lambda d: d.shuffle(blocks=0), "blocks must be a whole number from 1"),
        (lambda d: d.shuffle(False, blocks=9), "leave out blocks"),
        (lambda d: d.sample_by_weight(), "needs weights"),
        (lambda d: d.normalize("city"), "'city' has type string, which has no mean"),
        (lambda d: d.normalize("digit"), "'digit' is no feature"),
        (lambda d: d.drop("age", "city"), "no feature is left"),
        (lambda d: d.drop("price"), "'price' is no feature; there are: age, city"),
        (lambda d: d.select("town"), "no column 'town'"),
        (lambda d: d.select(), "takes names of columns"),
        (lambda d: d.filter(" "), "filter must be SQL"),
        (lambda d: d.with_column("", "1"), "must be a string"),
        (lambda d: d.with_column("x", "1", input="facts"), "no input 'facts'"),
        (lambda d: d.test, r"no test set; split it: dataset.split\(validation=0.2, test=0.1"),
    ],
)
def test_a_transform_names_what_is_wrong(make: Any, problem: str) -> None:
    data = lethe.Dataset.from_arrow(table(), features=["age", "city"], label="digit")
    with pytest.raises(lethe.DataError, match=problem) as caught:
        make(data)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"features": {"label": "age"}}, "cannot be named 'label'"),
        ({"features": {}}, "names no column"),
        ({"features": {"a": []}}, "names no column"),
        ({"features": "age", "fill": 0.5}, "'age' has whole numbers .int32., and 0.5 is none"),
        ({"features": "age", "fill": {"city": 1}}, "'city' has type string, and 1 is no value"),
        ({"features": "age", "fill": "x"}, "no feature has that type"),
        ({"features": "age", "fill": [0]}, "fill must be"),
        ({"features": "age", "drop": ["town"]}, "no column 'town'"),
        ({"features": "age", "drop": []}, "drop must be True or names"),
        ({"features": "born", "dates": "iso"}, "dates must be None or"),
        ({"features": "age", "weight": "city"}, "the weight 'city' has type string"),
        ({"features": "age", "key": "town"}, "no column 'town'"),
        ({"features": "age", "label": 3}, "label must be the name"),
    ],
)
def test_an_argument_that_cannot_be_is_named(arguments: dict[str, Any], problem: str) -> None:
    with pytest.raises(lethe.DataError, match=problem):
        lethe.Dataset.from_arrow(table(), **arguments)


def test_an_input_has_a_type_and_a_shape_that_there_are() -> None:
    with pytest.raises(lethe.DataError, match="dtype must be None or one of float32"):
        lethe.Input("pixels", dtype="float8")
    with pytest.raises(lethe.DataError, match="shape must be whole numbers"):
        lethe.Input("pixels", shape=(0, 8))
    with pytest.raises(lethe.DataError, match="normalized numbers are float32; leave out its dtype"):
        lethe.Dataset.from_arrow(table(), {"ids": lethe.Input("age", dtype="int64")}).normalize("age")


def test_a_dataset_never_changes() -> None:
    data = lethe.Dataset.from_arrow(table(), features=["age", "city"], label="digit")
    before = repr(data)
    other = data.split(0.2).filter("age > 0").drop("city").normalize()
    assert repr(data) == before == "Dataset(features=['age', 'city'], label='digit')"
    assert repr(other) == "Dataset(features=['age'], label='digit', validation=0.2, seed=0, 1 queries)"


def test_all_columns_but_those_that_serve_something_are_features() -> None:
    small = table().select(["age", "city", "digit", "member"])
    assert lethe.Dataset.from_arrow(small, label="digit").features == ("age", "city", "member")
    assert lethe.Dataset.from_arrow(small, label="digit", key="age").features == ("city", "member")
    by = lethe.Dataset.from_arrow(small, label="digit").split(by="city")
    assert by.features == ("age", "member")
    assert by.drop("age").features == ("member",)


def test_tables_of_other_libraries_are_taken() -> None:
    class Stream:
        def __arrow_c_stream__(self, schema: Any = None) -> Any:
            return pa.RecordBatchReader.from_batches(
                table().schema, table().to_batches()
            ).__arrow_c_stream__()

    class Batch:
        def __arrow_c_array__(self, schema: Any = None) -> Any:
            return table().combine_chunks().to_batches()[0].__arrow_c_array__()

    frame = table().drop_columns("place").to_pandas().set_index("city", drop=False)
    reader = table().to_reader()
    for data in (table().to_batches()[0], reader, frame, Stream(), Batch()):
        found = lethe.Dataset.from_arrow(data, features=["age", "city"], label="digit").source
        assert found.kinds["age"] == pa.int32()
        assert found.table.to_pydict() == table().select(["age", "city", "digit"]).to_pydict()  # type: ignore[attr-defined]
    with pytest.raises(lethe.DataError, match=r"takes a table.*not dict"):
        lethe.Dataset.from_arrow({"age": [1]}, features="age")


def test_categories_of_polars_are_strings() -> None:
    class Polars:
        def __arrow_c_stream__(self, schema: Any = None) -> Any:
            values = pa.array(["x", "y"], pa.string_view())
            codes = pa.DictionaryArray.from_arrays(pa.array([1, 0, None], pa.uint32()), values)
            return (
                pa.table({"plain": pa.array(["a", "b", "c"], pa.string_view()), "coded": codes})
                .to_reader()
                .__arrow_c_stream__()
            )

    source = lethe.Dataset.from_arrow(Polars(), features=["plain", "coded"]).source
    found = fitted(source.table.to_batches()[0], source.schema)  # type: ignore[attr-defined]
    assert found.to_pydict() == {"plain": ["a", "b", "c"], "coded": ["y", "x", None]}
    assert found.schema.types == [pa.large_string()] * 2
