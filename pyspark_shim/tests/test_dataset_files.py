"""Datasets of files: what the driver is told and asked, and that secrets of a store go nowhere else."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from data_server import Owner, Server, serving

import lethe
from lethe.dataset import dataset as module
from lethe.dataset.credentials import s3_options

SCHEMA = pa.schema(
    [("a", pa.float64()), ("city", pa.string()), ("seen", pa.timestamp("us")), ("y", pa.int32())]
)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Server, Owner]]:
    with serving() as (server, owner):
        monkeypatch.setattr(module, "application", lambda session: owner)
        monkeypatch.setattr(module, "running", lambda: [owner])
        server.schemas[()] = SCHEMA
        yield server, owner


def session(**settings: str) -> Any:
    """Of Spark, as far as its settings go."""
    conf = {f"spark.hadoop.fs.s3a.{name}": value for name, value in settings.items()}
    return SimpleNamespace(conf=SimpleNamespace(get=conf.get))


def test_nothing_is_asked_before_it_is_needed(served: tuple[Server, Owner]) -> None:
    server, _ = served
    data = (
        lethe.Dataset.from_files("s3a://bucket/day=*/*.parquet", label="y", drop=True, dates="number")
        .filter("a > 0")
        .drop("city")
        .normalize()
        .split(0.2)
    )
    assert repr(data) == "Dataset(features=all others, label='y', validation=0.2, seed=0, 1 queries)"
    assert server.calls == []
    spec = data.on().spec("cross_entropy")
    assert spec["inputs"] == [
        {"name": "features", "columns": ["a", "seen"], "dtype": "float32", "normalize": ["a", "seen"]}
    ]
    assert spec["queries"] == [
        'select * replace (to_unixtime("seen") as "seen") from dataset '
        'where "a" is not null and "city" is not null and "seen" is not null and "y" is not null',
        "select * from dataset where a > 0",
    ]
    # Once for all that is asked.
    assert data.features == ("a", "seen")
    assert [name for name, _ in server.calls] == ["dataset.create", "schema"]
    assert server.called("dataset.create") == [
        {"dataset": spec["dataset"], "files": {"urls": ["s3://bucket/day=*/*.parquet"]}}
    ]


def test_a_query_s_columns_are_the_driver_s_answer(served: tuple[Server, Owner]) -> None:
    server, _ = served
    query = "select a * 2 as b, city, y from dataset"
    server.schemas[(query,)] = pa.schema([("b", pa.float64()), ("city", pa.string()), ("y", pa.int32())])
    data = lethe.Dataset.from_files("/data", "a", "y").sql(query + ";").normalize()
    assert data.columns == ["b", "city", "y"]
    assert data.features == ("b", "city")
    assert data.on().spec("mse")["inputs"][0]["normalize"] == ["b"]
    assert len(server.called("schema")) == 1
    # With names, and nothing else to know, there is nothing to ask.
    named = lethe.Dataset.from_files("/data", "a", "y").sql(query, features=["b"])
    assert named.on().spec("mse")["inputs"][0]["columns"] == ["b"]
    assert len(server.called("schema")) == 1


def test_a_column_that_files_do_not_have_is_an_error_with_near_ones(served: tuple[Server, Owner]) -> None:
    data = lethe.Dataset.from_files("/data", "town", "y", fill={"citi": "?"})
    with pytest.raises(lethe.DataError, match="no column 'citi'; did you mean city"):
        data.on().spec(None)


def test_paths_are_absolute_and_urls_have_a_scheme_that_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = lethe.Dataset.from_files(["x/*.csv", Path("y.csv"), "s3n://b/c"], "a", format="csv").source
    assert source.message()["files"] == {  # type: ignore[attr-defined]
        "urls": [f"{tmp_path}/x/*.csv", f"{tmp_path}/y.csv", "s3://b/c"],
        "format": "csv",
    }
    wrong: list[tuple[Any, str]] = [([], "no URL"), ("hopsfs://x/y", "Let Spark read it"), ([3], "as text")]
    for urls, problem in wrong:
        with pytest.raises(lethe.DataError, match=problem):
            lethe.Dataset.from_files(urls, "a")
    with pytest.raises(lethe.DataError, match="format must be one of parquet, csv"):
        lethe.Dataset.from_files("x", "a", format="orc")
    with pytest.raises(lethe.DataError, match="options must be strings by name, not 'retries'"):
        lethe.Dataset.from_files("x", "a", options={"retries": 3})  # type: ignore[dict-item]


def test_spark_s_settings_of_s3_become_the_store_s_options() -> None:
    spark = session(
        **{
            "access.key": "AK",
            "secret.key": "SK",
            "session.token": "ST",
            "endpoint": "minio:9000",
            "endpoint.region": "eu-1",
            "path.style.access": "true",
            "connection.ssl.enabled": "false",
            "bucket.special.access.key": "AK2",
        }
    )
    assert s3_options("s3a://bucket/x", spark) == {
        "aws_access_key_id": "AK",
        "aws_secret_access_key": "SK",
        "aws_session_token": "ST",
        "aws_region": "eu-1",
        "aws_virtual_hosted_style_request": "false",
        "aws_endpoint": "http://minio:9000",
        "aws_allow_http": "true",
    }
    assert s3_options("s3://special/x", spark)["aws_access_key_id"] == "AK2"
    assert s3_options("gs://bucket/x", spark) == {} == s3_options("s3://bucket/x", None)
    assert s3_options("s3://b/x", session(endpoint="minio")) == {"aws_endpoint": "https://minio"}


def test_secrets_are_told_the_driver_and_nobody_else(
    served: tuple[Server, Owner], monkeypatch: pytest.MonkeyPatch
) -> None:
    from lethe.dataset import files

    spark = session(**{"secret.key": "of-spark", "access.key": "AK"})
    monkeypatch.setattr(files, "active_session", lambda: SimpleNamespace(spark=spark))
    data = lethe.Dataset.from_files("s3://b/x", "a", "y", options={"aws_secret_access_key": "mine"})
    spec = data.on().spec("mse")
    data.stored(served[1])  # type: ignore[arg-type]
    (told,) = served[0].called("dataset.create")
    assert told["files"]["options"] == {"aws_access_key_id": "AK", "aws_secret_access_key": "mine"}
    for text in (repr(data), repr(data.source), str(spec), str(served[1].stored)):
        assert "mine" not in text
        assert "of-spark" not in text


def test_unpersist_drops_what_was_stored_and_names_it_anew(served: tuple[Server, Owner]) -> None:
    server, owner = served
    data = lethe.Dataset.from_files("/data", "a", "y")
    data.unpersist()
    assert server.calls == []
    data.stored(owner)  # type: ignore[arg-type]
    name = data.source.name
    data.split(0.5).unpersist()
    assert server.called("dataset.drop") == [{"dataset": name}]
    assert owner.stored == {}
    data.stored(owner)  # type: ignore[arg-type]
    assert [message["dataset"] for message in server.called("dataset.create")] == [name, data.source.name]
    assert name != data.source.name


def test_the_home_folder_is_the_user_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    source = lethe.Dataset.from_files("~/x.parquet", "a").source
    assert source.message()["files"]["urls"] == ["/home/ada/x.parquet"]  # type: ignore[attr-defined]
