"""Files in stores: a server that checks signatures, HTTP, and what is said where something is wrong."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from buckets import Bucket, Plain, Ranges, by_http, holds, serving
from conftest import lethe_processes
from programs import Program, command_line, spark_home
from searches import search, training
from tables import same, table, wide, write_files

import lethe
from lethe.application.registry import running

pytestmark = pytest.mark.usefixtures("no_process_left")


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    with serving() as found:
        yield found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_files(tmp_path_factory.mktemp("files"))


@pytest.fixture(scope="module")
def hive(bucket: Bucket, folder: Path) -> str:
    """The URL of the table in folders named by its column `part`."""
    return bucket.upload(folder / "hive", "hive")


@pytest.fixture(autouse=True)
def without_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of this machine's environment opens a store."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def alone() -> Iterator[None]:
    """An application that begins with the test's environment, and is its own."""
    lethe.shutdown()
    yield
    lethe.shutdown()


def test_a_folders_escaped_name_is_read_as_the_value_it_was(bucket: Bucket, tmp_path: Path) -> None:
    name = "at=10%3A30 é#"
    (tmp_path / "escaped" / name).mkdir(parents=True)
    pq.write_table(table(), tmp_path / "escaped" / name / "rows.parquet")
    for url in (str(tmp_path / "escaped"), bucket.upload(tmp_path / "escaped", "escaped")):
        options = bucket.options if url.startswith("s3") else {}
        data = lethe.Dataset.from_files(url, ["a", "id"], "y", key="id", options=options)
        assert same(data.filter("at = '10:30 é#'").split(by="part"))


@pytest.mark.parametrize("scheme", ["s3", "s3a"])
@pytest.mark.parametrize("end", ["/", "", "/*/*.parquet", "/part=*/rows.parquet"])
def test_options_open_a_bucket_and_folders_names_are_a_column(
    bucket: Bucket, hive: str, scheme: str, end: str
) -> None:
    url = scheme + hive.removeprefix("s3").rstrip("/") + end
    data = lethe.Dataset.from_files(url, ["a", "id"], "y", key="id", options=bucket.options)
    assert same(data.split(by="part"))


def test_the_environment_opens_a_bucket(
    bucket: Bucket, hive: str, alone: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in bucket.environment.items():
        monkeypatch.setenv(name, value)
    data = lethe.Dataset.from_files(hive, ["a", "id"], "y", key="id").split(by="part")
    assert same(data)
    result = lethe.lagom(training(epochs=1), data, search(2), spark=False, slots=1, quiet=True)
    assert result.trials["state"].tolist() == ["finished"] * 2


def test_options_go_before_the_environment(
    bucket: Bucket, hive: str, alone: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in bucket.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    data = lethe.Dataset.from_files(hive, ["a", "id"], "y", key="id", options=bucket.options)
    assert same(data.split(by="part"))


@pytest.mark.parametrize("wrong", ["aws_access_key_id", "aws_secret_access_key"])
@pytest.mark.parametrize("what", ["", "part=train/rows.parquet"])
def test_a_wrong_key_is_an_error_that_names_the_address(
    bucket: Bucket, hive: str, wrong: str, what: str
) -> None:
    options = bucket.options | {wrong: "not-the-right-one"}
    data = lethe.Dataset.from_files(hive + what, ["a"], "y", options=options)
    with pytest.raises(lethe.DataError) as caught:
        data.train.to_numpy()
    first = str(caught.value).splitlines()[0]
    assert first.startswith(f"{hive}{what} cannot be read")
    assert "403 Forbidden" in first
    for secret in (bucket.secret, "not-the-right-one"):
        assert secret not in str(caught.value)
    with pytest.raises(lethe.DataError, match="403 Forbidden"):
        lethe.lagom(training(epochs=1), data.split(0.2), search(1), spark=False, quiet=True, name="wrong")
    assert not Path("lethe-runs/wrong").exists()


def test_an_option_that_there_is_not_is_named_without_its_value(bucket: Bucket, hive: str) -> None:
    options = bucket.options | {"aws_secret": bucket.secret}
    with pytest.raises(lethe.DataError, match='no option "aws_secret"') as caught:
        lethe.Dataset.from_files(hive, ["a"], "y", options=options).train.to_numpy()
    assert bucket.secret not in str(caught.value)


def test_credentials_are_written_nowhere(
    bucket: Bucket, hive: str, alone: None, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = lethe.Dataset.from_files(hive, ["a", "id"], "y", key="id", options=bucket.options)
    data = data.normalize("a").split(0.2, seed=1)
    result = lethe.lagom(training(epochs=2), data, search(3), spark=False, slots=2, name="secret")
    assert len(result.trials) == 3
    # What cannot be read is logged.
    bucket.client.upload_fileobj(_opened(tmp_path / "broken.parquet"), "data", "broken/x.parquet")
    broken = lethe.Dataset.from_files("s3://data/broken/", ["a"], "y", options=bucket.options)
    with pytest.raises(lethe.DataError):
        broken.train.to_numpy()
    (owner,) = running()
    logs = [path.name for path in owner.folder.rglob("*.log")]
    assert {"driver.log", "executor.log"} <= set(logs)
    for secret in (bucket.secret, bucket.key):
        assert not holds(owner.folder, secret)
        assert not holds(Path("lethe-runs/secret"), secret)
        for shown in (data, data.source, data.train, result, result.summary(), data.preprocessing()):
            assert secret not in repr(shown)
        assert not any(secret in command_line(pid) for pid in lethe_processes())
        assert secret not in "".join(capfd.readouterr())
    assert Path("lethe-runs/secret/journal.log").stat().st_size > 0


def _opened(path: Path) -> Any:
    path.write_bytes(b"PAR1 this is no Parquet PAR1")
    return path.open("rb")


SPARK_FILES = """
    from pathlib import Path

    from journals import count
    from lethe.application.registry import running
    from pyspark.sql import SparkSession
    from searches import mlp

    def patient(hparams, inputs):
        # All trials but the first wait until both executors have a slot.
        journal = Path("lethe-runs", "files")
        if count(journal, "prepared"):
            assert wait_for(lambda: count(journal, "slot_ready") == 2, 60)
        return mlp(hparams, inputs)

    builder = SparkSession.builder.master({master!r}).config("spark.ui.enabled", "false")
    for key, value in json.loads(os.environ["TEST_CONF"]).items():
        builder = builder.config(key, value)
    spark = builder.config("spark.ui.showConsoleProgress", "false").getOrCreate()
    data = lethe.Dataset.from_files({url!r}, ["a", "id"], "y", key="id").normalize("a").split(0.2, seed=1)
    train = training(model=patient, epochs=3)
    result = lethe.lagom(train, data, search(6), slots=2, quiet=True, name="files")
    (owner,) = running()
    homes = sorted(Path({local!r}).rglob("lethe-*/store"))
    say(executors=sorted(set(result.slots["executor"])), states=list(result.trials["state"]),
        values=list(result.trials["value"]), views=[len(list(home.glob("views/*.view"))) for home in homes],
        put=[len([path for path in home.glob("partitions/**/*") if path.is_file()]) for home in homes],
        application=str(owner.folder), shown=repr(data) + repr(result))
    wait_for(lambda: os.path.exists({go!r}), 60)
    spark.stop()
"""


def test_executors_of_spark_read_the_files_themselves(bucket: Bucket, hive: str, tmp_path: Path) -> None:
    """With the credentials of Spark's settings, which nobody writes down."""
    home, local, go = tmp_path / "spark", tmp_path / "local", tmp_path / "go"
    home.mkdir()
    local.mkdir()
    conf = {
        "spark.executor.memory": "1g",
        "spark.cores.max": "2",
        "spark.local.dir": str(local),
        # Both executors are there before there is any slot.
        "spark.scheduler.minRegisteredResourcesRatio": "1.0",
        "spark.scheduler.maxRegisteredResourcesWaitingTime": "60s",
        **bucket.s3a,
    }
    values = {
        "master": "local-cluster[2,1,1024]",
        "url": hive.replace("s3:", "s3a:"),
        "local": str(local),
        "go": str(go),
    }
    # Not on the program's command line, where anybody would see them.
    environment = spark_home(home) | {"TEST_CONF": json.dumps(conf)}
    with Program(SPARK_FILES, "", environment=environment, **values) as program:
        said = program.says()
        written = [home / "work", local, Path("lethe-runs"), Path(said["application"])]
        found = [path for folder in written for path in holds(folder, bucket.secret)]
        commands = [command_line(pid) for pid in lethe_processes()]
        logs = [path.name for path in local.rglob("executor.log")]
        go.touch()
        output = program.rest()
    assert said["states"] == ["finished"] * 6
    assert len(said["executors"]) == 2
    assert len(said["views"]) == 2, "each has a view of its own"
    assert min(said["views"]) >= 1
    assert said["put"] == [0, 0], "nothing went through Spark"
    assert len(logs) == 2
    assert found == []
    assert commands
    assert not any(bucket.secret in text for text in (*commands, output, said["shown"]))
    # Where the files were read changes nothing.
    data = lethe.Dataset.from_files(hive, ["a", "id"], "y", key="id", options=bucket.options)
    data = data.normalize("a").split(0.2, seed=1)
    here = lethe.lagom(training(epochs=3), data, search(6), slots=1, spark=False, quiet=True, name="here")
    assert said["values"] == list(here.trials["value"])


@pytest.mark.parametrize(
    "use",
    [
        lambda data: data.train.to_numpy(),
        lambda data: lethe.lagom(training(epochs=1), data.split(0.2), search(1), spark=False, quiet=True),
    ],
    ids=["read", "search"],
)
def test_a_file_that_has_changed_is_refused_by_its_name(
    bucket: Bucket, folder: Path, use: Callable[[lethe.Dataset], Any], request: pytest.FixtureRequest
) -> None:
    prefix = f"changing-{request.node.callspec.id}"
    url = bucket.upload(folder / "hive", prefix)
    data = lethe.Dataset.from_files(url, ["a", "id"], "y", options=bucket.options)
    # The driver lists the files.
    assert "part" in data.columns
    other = table().filter(pc.equal(table()["part"], "test")).slice(0, 20).drop_columns("part")
    pq.write_table(other, "other.parquet")
    bucket.client.upload_file("other.parquet", "data", f"{prefix}/part=test/rows.parquet")
    with pytest.raises(lethe.DataError) as caught:
        use(data)
    assert str(caught.value).startswith(f"{url}part=test/rows.parquet has changed")
    assert "Dataset.from_files" in str(caught.value)
    anew = lethe.Dataset.from_files(url, ["a", "id"], "y", key="id", options=bucket.options)
    features, _ = anew.split(by="part").test.to_numpy()
    assert sorted(features[:, 1].astype(int)) == sorted(other["id"].to_pylist())


def test_rows_that_were_read_stay_when_their_file_changes(bucket: Bucket, folder: Path) -> None:
    url = bucket.upload(folder / "hive", "changed-later")
    data = lethe.Dataset.from_files(url, ["a", "id"], "y", key="id", options=bucket.options)
    before = data.train.to_numpy()[0]
    bucket.client.delete_object(Bucket="data", Key="changed-later/part=test/rows.parquet")
    assert np.array_equal(data.train.to_numpy()[0], before)


def test_a_file_that_has_gone_is_refused_by_its_name(bucket: Bucket, folder: Path) -> None:
    url = bucket.upload(folder / "hive", "going")
    data = lethe.Dataset.from_files(url, ["a"], "y", options=bucket.options)
    assert "part" in data.columns
    bucket.client.delete_object(Bucket="data", Key="going/part=test/rows.parquet")
    with pytest.raises(lethe.DataError, match=r"going/part=test/rows\.parquet cannot be read any more"):
        data.train.to_numpy()


def test_a_bucket_that_is_not_there_is_an_error_that_names_it(bucket: Bucket) -> None:
    data = lethe.Dataset.from_files("s3://nothing/rows/", ["a"], "y", options=bucket.options)
    with pytest.raises(lethe.DataError, match=r"^s3://nothing/rows/ cannot be read.*404"):
        data.train.to_numpy()
    none = lethe.Dataset.from_files("s3://data/nothing/", ["a"], "y", options=bucket.options)
    with pytest.raises(lethe.DataError, match=r"^there are no files at s3://data/nothing/"):
        none.train.to_numpy()


@pytest.mark.parametrize("ending", ["csv", "json"])
def test_one_file_is_read_by_http(folder: Path, ending: str) -> None:
    with by_http(folder, Plain) as url:
        data = lethe.Dataset.from_files(f"{url}/rows.{ending}", ["a", "id"], "y", key="id")
        # pandas writes ten digits.
        assert same(data.split(by="part"), tolerance=1e-6 if ending == "json" else 0)


def test_a_server_that_gives_whole_files_only_cannot_give_parquet(folder: Path) -> None:
    with by_http(folder, Plain) as url:
        data = lethe.Dataset.from_files(f"{url}/hive/part=train/rows.parquet", ["a", "id"], "y")
        with pytest.raises(lethe.DataError, match=r"^http.*rows\.parquet.*[Rr]ange"):
            data.train.to_numpy()


def test_of_parquet_by_http_only_what_is_needed_comes(tmp_path: Path) -> None:
    rows = wide(20_000)
    pq.write_table(rows, tmp_path / "wide.parquet", row_group_size=5000)
    Ranges.sent = 0
    with by_http(tmp_path, Ranges) as url:
        features, label = lethe.Dataset.from_files(f"{url}/wide.parquet", ["c7"], "y").train.to_numpy()
    assert np.array_equal(features[:, 0], rows["c7"].to_numpy().astype("float32"))
    assert np.array_equal(label, rows["y"].to_numpy())
    assert 0 < Ranges.sent < (tmp_path / "wide.parquet").stat().st_size / 4


def empty(root: Path) -> None:
    pq.write_table(table().slice(0, 0), root / "x.parquet")


def mixed(root: Path) -> None:
    pq.write_table(table(), root / "x.parquet")
    (root / "y.csv").write_text("id,a,y\n1,2,3\n")


def without_a_column(root: Path) -> None:
    pq.write_table(table(), root / "x.parquet")
    pq.write_table(table().drop_columns("a"), root / "y.parquet")


def of_other_types(root: Path) -> None:
    pq.write_table(table(), root / "x.parquet")
    names = table().set_column(1, "a", table()["a"].cast(pa.string()))
    pq.write_table(names, root / "y.parquet")


def cut_off(root: Path) -> None:
    pq.write_table(table(), root / "x.parquet")
    (root / "x.parquet").write_bytes((root / "x.parquet").read_bytes()[:-100])


def in_other_folders(root: Path) -> None:
    for name in ("day=1", "hour=1"):
        (root / name).mkdir()
        pq.write_table(table(), root / name / "x.parquet")


def twice_a_column(root: Path) -> None:
    (root / "a=1").mkdir()
    pq.write_table(table(), root / "a=1" / "x.parquet")


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (empty, r"^the dataset .*has no rows"),
        (mixed, r"^\S*y\.csv is Csv and \S*x\.parquet is Parquet: .*format="),
        (without_a_column, r'^column "a" has 300 nulls: .*fill='),
        (of_other_types, r"^\S*\.parquet cannot be read as Parquet: .*'a'"),
        (cut_off, r"^\S*x\.parquet cannot be read as Parquet"),
        (in_other_folders, r"^\S*hour=1/x\.parquet lies in folders of other columns"),
        (twice_a_column, r'^the column "a" stands in the files and in their folders'),
        (lambda root: None, r"^there are no files at "),
    ],
)
def test_files_that_are_no_dataset_are_refused(
    write: Callable[[Path], None], said: str, tmp_path: Path
) -> None:
    root = tmp_path / "files"
    root.mkdir()
    write(root)
    data = lethe.Dataset.from_files(root, ["a", "id"], "y")
    with pytest.raises(lethe.DataError, match=said):
        data.train.to_numpy()
    # What only the rows show, trials find.
    with pytest.raises((lethe.DataError, lethe.ExperimentError), match=said):
        lethe.lagom(training(epochs=1), data.split(0.2), search(1), spark=False, quiet=True)


def test_a_file_without_rows_among_others_has_none(tmp_path: Path) -> None:
    root = tmp_path / "files"
    root.mkdir()
    pq.write_table(table().slice(0, 0), root / "a.parquet")
    pq.write_table(table(), root / "b.parquet")
    features, _ = lethe.Dataset.from_files(root, ["a"], "y").train.to_numpy()
    assert np.array_equal(features[:, 0], table()["a"].to_numpy().astype("float32"))


@pytest.mark.parametrize(("features", "label"), [(["a", "idd"], "y"), (["a", "id"], "yy")])
def test_a_column_that_files_do_not_have_is_named_with_a_near_one(
    folder: Path, features: list[str], label: str
) -> None:
    data = lethe.Dataset.from_files(folder / "rows.csv", features, label)
    with pytest.raises(lethe.DataError, match=r"(idd.*id)|(yy.*y)"):
        data.train.to_numpy()
    with pytest.raises(lethe.DataError, match=r"(idd.*id)|(yy.*y)"):
        lethe.lagom(training(epochs=1), data.split(0.2), search(1), spark=False, quiet=True)
