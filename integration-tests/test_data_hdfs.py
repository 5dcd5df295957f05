"""`hdfs://`: files that Spark's Hadoop client has written to Hadoop's own namenode and datanode."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from frames import frame_of
from hdfs import BLOCK, Hdfs, serving
from searches import search, training
from tables import same, table, wide, write_files

import lethe


@pytest.fixture(scope="module")
def hdfs(spark: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hdfs]:
    with serving(tmp_path_factory.mktemp("hdfs"), spark) as found:
        yield found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_files(tmp_path_factory.mktemp("files")) / "hive"


@pytest.fixture(scope="module")
def written(hdfs: Hdfs, spark: Any) -> str:
    """The URL of the table, as a job of Spark's leaves it."""
    frame = frame_of(spark, table()).repartition(2)
    frame.write.partitionBy("part").parquet(f"{hdfs.url}/written")
    return f"{hdfs.url}/written"


@pytest.fixture(scope="module")
def private(hdfs: Hdfs, folder: Path) -> str:
    """The URL of a folder that only alice may read."""
    url = hdfs.put(folder, "/private")
    hdfs.give("/private", "alice")
    return url


@pytest.fixture(autouse=True)
def without_hadoop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of this machine's environment says where HDFS is, or who reads."""
    for name in ("HADOOP_CONF_DIR", "HADOOP_HOME", "HADOOP_USER_NAME", "HADOOP_PROXY_USER"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def alone() -> Iterator[None]:
    """An application that begins with the test's environment, and is its own."""
    lethe.shutdown()
    yield
    lethe.shutdown()


def read(url: str, **changes: Any) -> lethe.Dataset:
    return lethe.Dataset.from_files(url, ["a", "id"], "y", key="id", **changes)


@pytest.mark.parametrize("end", ["/", "", "/*/*.parquet", "/part=*/*.parquet"])
def test_what_spark_has_written_is_read_around_it(written: str, end: str) -> None:
    assert same(read(written + end).split(by="part"))


def test_executors_of_spark_train_on_it(written: str, folder: Path, spark: Any) -> None:
    def values(url: str, **changes: Any) -> list[float]:
        data = read(url).normalize("a").split(0.2, seed=1)
        result = lethe.lagom(training(epochs=2), data, search(3), quiet=True, **changes)
        assert list(result.trials["state"]) == ["finished"] * 3
        return list(result.trials["value"])

    assert values(written, spark=spark, slots=2) == values(str(folder), spark=False, slots=1)


def test_of_many_blocks_only_the_needed_parts_come(hdfs: Hdfs, tmp_path: Path) -> None:
    rows = wide(30_000)
    (tmp_path / "wide").mkdir()
    file = tmp_path / "wide" / "rows.parquet"
    pq.write_table(rows, file, row_group_size=15_000)
    assert file.stat().st_size > 10 * BLOCK
    url, before = hdfs.put(tmp_path / "wide", "/wide"), hdfs.sent()
    features, label = lethe.Dataset.from_files(url, ["c7"], "y").train.to_numpy()
    assert np.array_equal(features[:, 0], rows["c7"].to_numpy().astype("float32"))
    assert np.array_equal(label, rows["y"].to_numpy())
    assert 0 < hdfs.sent() - before < file.stat().st_size / 4


def test_folders_hold_what_spark_has_escaped_in_their_names(hdfs: Hdfs, spark: Any) -> None:
    frame = spark.createDataFrame([(1.0, 0, "10:30"), (2.0, 1, "half %/#")], ["a", "y", "at"])
    frame.write.partitionBy("at").parquet(f"{hdfs.url}/escaped")
    data = lethe.Dataset.from_files(f"{hdfs.url}/escaped", ["a"], "y")
    assert data.filter("at = '10:30'").train.to_numpy()[0].tolist() == [[1.0]]
    assert data.filter("at = 'half %/#'").train.to_numpy()[0].tolist() == [[2.0]]


def test_the_user_is_who_the_environment_says(
    private: str, alone: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HADOOP_USER_NAME", "alice")
    assert same(read(private).split(by="part"))
    lethe.shutdown()
    monkeypatch.setenv("HADOOP_USER_NAME", "bob")
    with pytest.raises(lethe.DataError) as caught:
        read(private).train.to_numpy()
    first = str(caught.value).splitlines()[0]
    assert first.startswith(f"{private} cannot be read")
    assert "Permission denied: user=bob" in first
    assert first.endswith("HADOOP_USER_NAME says who reads")


def test_hadoops_configuration_names_the_namenode(
    hdfs: Hdfs, written: str, alone: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HADOOP_CONF_DIR", str(hdfs.conf))
    assert same(read("hdfs:///written").split(by="part"))


def test_options_name_the_namenodes_of_a_service_and_the_one_that_answers_is_found(
    hdfs: Hdfs, written: str
) -> None:
    options = {
        "dfs.ha.namenodes.cluster": "first,second",
        "dfs.namenode.rpc-address.cluster.first": "127.0.0.1:1",
        "dfs.namenode.rpc-address.cluster.second": hdfs.url.removeprefix("hdfs://"),
    }
    assert same(read("hdfs://cluster/written", options=options).split(by="part"))


def test_what_is_not_there_is_an_error_that_names_it(hdfs: Hdfs, written: str) -> None:
    for name in ("/nothing/", "/nothing/*.parquet", "/written/nothing.parquet"):
        with pytest.raises(lethe.DataError) as caught:
            read(hdfs.url + name).train.to_numpy()
        assert str(caught.value) == f"there are no files at {hdfs.url}{name}"


def test_a_service_that_nothing_describes_is_an_error_that_names_it() -> None:
    with pytest.raises(lethe.DataError, match=r"^the store hdfs://cluster/rows cannot be used.*NameNode"):
        read("hdfs://cluster/rows").train.to_numpy()


def test_a_block_whose_checksum_is_wrong_is_never_read_as_data(hdfs: Hdfs, folder: Path) -> None:
    before = set(hdfs.blocks())
    url = hdfs.put(folder, "/damaged")
    for block in set(hdfs.blocks()) - before:
        content = bytearray(block.read_bytes())
        content[100:200] = bytes(byte ^ 0xFF for byte in content[100:200])
        block.write_bytes(content)
    with pytest.raises(lethe.DataError, match=r"damaged/part=.*All DataNodes failed"):
        read(url).train.to_numpy()


def test_servers_that_are_silent_are_errors_in_time(hdfs: Hdfs, written: str) -> None:
    options = {"dfs.client.socket-timeout": "1000"}
    listed = read(written, options=options)
    assert "part" in listed.columns
    for server, data in ((hdfs.datanode, listed), (hdfs.namenode, read(written, options=options))):
        server.send_signal(signal.SIGSTOP)
        try:
            with pytest.raises(lethe.DataError, match="no server of HDFS has answered for 1s"):
                data.train.to_numpy()
        finally:
            server.send_signal(signal.SIGCONT)
    assert same(read(written).split(by="part"))


def test_servers_that_have_gone_are_errors_that_name_the_address(hdfs: Hdfs, written: str) -> None:
    """The last test: they stay away."""
    listed = read(written)
    assert "part" in listed.columns
    hdfs.datanode.kill()
    hdfs.datanode.wait()
    with pytest.raises(lethe.DataError, match=r"written/part=.*All DataNodes failed"):
        listed.train.to_numpy()
    hdfs.namenode.kill()
    hdfs.namenode.wait()
    with pytest.raises(lethe.DataError, match=rf"^{written} cannot be read.*Connection refused"):
        read(written).train.to_numpy()
