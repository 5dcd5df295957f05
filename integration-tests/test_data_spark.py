"""Datasets of Spark: types that only it has, its credentials, and what becomes of what was put."""

import os
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pyarrow as pa
import pyarrow.feather as pf
import pytest
from moto.server import ThreadedMotoServer
from searches import search, training
from tables import table, write_files

import lethe

pytestmark = pytest.mark.usefixtures("no_process_left")


def test_spark_s_vectors_and_decimals_are_numbers(spark: Any) -> None:
    from pyspark.ml.linalg import Vectors

    rows = [
        (Vectors.dense(1.0, 2.0), Decimal("1.50"), 0),
        (Vectors.sparse(2, [1], [5.0]), Decimal("0.25"), 1),
    ]
    frame = spark.createDataFrame(rows, ["vector", "price", "y"]).coalesce(1)
    features, label = lethe.Dataset.from_spark(frame, ["vector", "price"], "y").train.to_numpy()
    assert features.tolist() == [[1.0, 2.0, 1.5], [0.0, 5.0, 0.25]]
    assert label.tolist() == [0, 1]


def test_nulls_are_an_error_that_names_column_and_count_or_are_filled_or_left_out(spark: Any) -> None:
    frame = spark.createDataFrame(
        [(1.0, 0, "x"), (None, 1, "y"), (3.0, 2, None), (None, 3, "x")], "a double, y int, city string"
    ).coalesce(1)
    with pytest.raises(lethe.DataError, match=r"^.*a.* 2 nulls"):
        lethe.Dataset.from_spark(frame, ["a", "city"], "y").train.to_numpy()
    filled = lethe.Dataset.from_spark(frame, ["a", "city"], "y", fill={"a": -1, "city": "?"})
    assert filled.train.to_numpy()[0].tolist() == [[1.0, 1.0], [-1.0, 2.0], [3.0, 0.0], [-1.0, 1.0]]
    left = lethe.Dataset.from_spark(frame, ["a"], "y", drop=True)
    assert left.train.to_numpy()[1].tolist() == [0, 2]


def test_a_store_is_read_with_spark_s_credentials(
    spark: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    folder = write_files(tmp_path / "files")
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint, secret = f"http://{host}:{port}", "not-to-be-written-anywhere"
    try:
        client = boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name="us-east-1",
            aws_access_key_id="key",
            aws_secret_access_key=secret,
        )
        client.create_bucket(Bucket="data")
        for path in sorted(folder.glob("hive/*/*.parquet")):
            client.upload_file(str(path), "data", str(path.relative_to(folder)))
        settings = {
            "access.key": "key",
            "secret.key": secret,
            "endpoint": endpoint,
            "path.style.access": "true",
        }
        settings["endpoint.region"] = "us-east-1"
        for name, value in settings.items():
            spark.conf.set(f"spark.hadoop.fs.s3a.{name}", value)
        data = lethe.Dataset.from_files("s3a://data/hive/", ["a", "id"], "y", key="id").split(by="part")
        here = lethe.Dataset.from_files(folder / "hive", ["a", "id"], "y", key="id").split(by="part")
        assert np.array_equal(data.train.to_numpy()[0], here.train.to_numpy()[0])
        result = lethe.lagom(
            training(epochs=1), data.normalize("a"), search(2), directory=str(tmp_path), name="s3", quiet=True
        )
        assert len(result.trials) == 2
        written = [path.read_bytes() for path in (tmp_path / "s3").rglob("*") if path.is_file()]
        assert not any(secret.encode() in content for content in written)
        assert secret not in repr(data)
    finally:
        server.stop()


def test_a_dataset_that_was_dropped_is_put_again_when_it_is_used(spark: Any) -> None:
    frame = spark.createDataFrame(table().to_pandas()).repartition(3)
    data = lethe.Dataset.from_spark(frame, ["a"], "y", key="id")
    before, name = data.train.to_numpy()[0], data.source.name
    data.unpersist()
    assert data.source.name != name
    assert np.array_equal(data.train.to_numpy()[0], before)


def test_an_arrow_table_has_the_same_types_and_rows_with_spark_as_without(spark: Any) -> None:
    rows = 100
    number = np.arange(rows)
    pairs = {
        name: pa.array(np.stack([number % 200, number % 3], 1).astype(name).tolist(), pa.list_(kind))
        for name, kind in (
            ("uint8", pa.uint8()),
            ("uint16", pa.uint16()),
            ("uint32", pa.uint32()),
            ("uint64", pa.uint64()),
            ("float16", pa.float16()),
        )
    }
    pixels = np.arange(rows * 6, dtype="uint8").reshape(rows, 2, 3)
    images = pa.array(pixels.tolist(), pa.list_(pa.list_(pa.uint8(), 3), 2))
    columns = pairs | {
        "images": images,
        "byte": pa.array(number, pa.uint8()),
        "wide": pa.array([Decimal(int(i)) for i in number], pa.decimal256(50, 2)),
        "at": pa.array(number * 1_000_000_007, pa.timestamp("ns")),
        "text": pa.array([str(i) for i in number], pa.string_view()),
    }
    table = pa.table(columns)
    inputs = {name: name for name in columns}

    def data() -> lethe.Dataset:
        return lethe.Dataset.from_arrow(table, inputs, dates="number").shuffle(False)

    def seen(how: dict[str, Any]) -> pa.Table:
        """As a function gets it."""
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / "rows.arrow")

            def write(dataset: Any) -> float:
                pf.write_feather(dataset.train.to_arrow(), path, "uncompressed")
                return 0.0

            what = lethe.Single(metric="none", direction="min")
            lethe.lagom(write, data(), what, quiet=True, slots=1, **how)
            return pf.read_table(path, memory_map=False)

    with_spark, without = seen({}), seen({"spark": False})
    assert with_spark.schema == without.schema
    assert with_spark.equals(without)
    found = data().train.to_numpy()
    assert found["images"].dtype == np.uint8
    np.testing.assert_array_equal(found["images"], pixels)
    assert found["uint16"].tolist() == np.stack([number % 200, number % 3], 1).tolist()


def test_an_arrow_table_goes_through_spark_as_it_is(spark: Any) -> None:
    rows = 40_000
    number = np.arange(rows)
    columns = {
        "a.b": pa.array(number / 7),
        "u": pa.array(number % 251, pa.uint8()),
        "price": pa.array([Decimal(i).scaleb(-2) for i in number.tolist()], pa.decimal128(9, 2)),
        "yes": pa.array(number % 2 == 0),
        "fixed": pa.FixedSizeListArray.from_arrays(pa.array(np.arange(2 * rows, dtype="float32")), 2),
        "large": pa.array([[float(i), 0.5] for i in number], pa.large_list(pa.float32())),
        "city": pa.array([("Oslo", "Rome")[i % 2] for i in number]).dictionary_encode(),
        "at": pa.array(number * 1_000_000, pa.timestamp("us")),
    }
    spark.conf.set("spark.sql.session.timeZone", "Asia/Tokyo")
    try:
        data = lethe.Dataset.from_arrow(pa.table(columns | {"y": number}), list(columns), "y", dates="number")
        features, label = data.shuffle(False).train.to_numpy()
    finally:
        spark.conf.unset("spark.sql.session.timeZone")
    assert label.tolist() == number.tolist()
    lists = np.stack([2 * number, 2 * number + 1, number, np.full(rows, 0.5)], axis=1)
    first = np.stack([number / 7, number % 251, number / 100, number % 2 == 0], axis=1)
    expected = np.concatenate([first, lists, np.stack([number % 2, number], axis=1)], axis=1)
    np.testing.assert_allclose(features, expected, rtol=1e-6)
