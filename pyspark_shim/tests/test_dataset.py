"""Columns are checked before anything runs; errors name the column, its type and the remedy."""

from decimal import Decimal

import pyarrow as pa
import pytest

import lethe
from lethe.dataset.columns import check_label, label_kind, width
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
    [("city", "StringIndexer"), ("price", 'cast it: df.withColumn."price"')],
)
def test_a_feature_that_is_no_number_is_an_error_with_a_remedy(column: str, remedy: str) -> None:
    with pytest.raises(lethe.DataError, match=f"the feature '{column}' has type .*{remedy}"):
        lethe.Dataset.from_arrow(table(), features=["age", column])


def test_a_column_is_named_once() -> None:
    with pytest.raises(lethe.DataError, match="'digit' is named twice"):
        lethe.Dataset.from_arrow(table(), features=["age", "digit"], label="digit")


@pytest.mark.parametrize("kind", [pa.float32(), pa.float64(), pa.string()])
def test_cross_entropy_needs_whole_numbers(kind: pa.DataType) -> None:
    with pytest.raises(
        lethe.DataError, match=f"the label 'y' has type {kind}, and cross_entropy needs .*cast"
    ):
        check_label("y", kind, "cross_entropy")
    check_label("y", pa.int8(), "cross_entropy")
    check_label("y", pa.bool_(), "cross_entropy")


def test_regression_takes_numbers_only() -> None:
    check_label("y", pa.float64(), "mse")
    with pytest.raises(lethe.DataError, match="'y' has type string, which is not a number"):
        check_label("y", pa.string(), "mse")


def test_how_a_label_travels_follows_the_loss() -> None:
    assert label_kind(pa.int64(), "cross_entropy") == "class"
    assert label_kind(pa.int64(), "binary_cross_entropy") == "value"
    assert label_kind(pa.int64(), None) == "class"
    assert label_kind(pa.float32(), None) == "value"


def test_batches_are_put_with_the_dataset_s_schema() -> None:
    source = ArrowSource(table(), ["pixels", "age", "member"], "digit")
    batch = source.table.to_batches()[0]
    found = fitted(batch, source.schema)
    assert found.schema == source.schema
    assert found.column(2).to_pylist() == [1, 0]
    assert width(source.schema, source.features, found) == 4
    assert width(source.schema, source.features, found.slice(0, 0)) is None


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
