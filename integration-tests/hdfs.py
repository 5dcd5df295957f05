"""Hadoop's own namenode and datanode, on loopback.

Their jars lie in the environment's folder `hadoop`, where `make setup` puts them. Files are written by
Hadoop's client in Spark, which is a later one.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conftest import wait_for

JARS = Path(sys.prefix) / "hadoop"
BLOCK = 1 << 18
JVM = ("-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
SERVERS = "org.apache.hadoop.hdfs.server"

CORE = {"hadoop.tmp.dir": "{folder}/disk", "ipc.client.connect.retry.interval": "100"}
HDFS = {
    "dfs.namenode.http-address": "127.0.0.1:0",
    "dfs.namenode.fs-limits.min-block-size": str(BLOCK),
    "dfs.namenode.edits.noeditlogchannelflush": "true",
    "dfs.datanode.address": "127.0.0.1:0",
    "dfs.datanode.ipc.address": "127.0.0.1:0",
    "dfs.datanode.http.address": "127.0.0.1:0",
    "dfs.replication": "1",
    "dfs.webhdfs.enabled": "false",
}
LOG = f"""
log4j.rootLogger=INFO, console
log4j.appender.console=org.apache.log4j.ConsoleAppender
log4j.appender.console.layout=org.apache.log4j.PatternLayout
log4j.appender.console.layout.ConversionPattern=%d %p %c: %m%n
# Each block, or part of one, that is read.
log4j.logger.{SERVERS}.datanode.DataNode.clienttrace=DEBUG
"""


@dataclass(frozen=True)
class Hdfs:
    """A namenode, a datanode that holds the only copy of each block, and a client in Spark's JVM.

    namenode, datanode: their processes. client: Hadoop's FileSystem, as the user who started the namenode.
    """

    url: str
    conf: Path
    namenode: subprocess.Popen[bytes]
    datanode: subprocess.Popen[bytes]
    jvm: Any
    client: Any

    def path(self, name: str) -> Any:
        return self.jvm.org.apache.hadoop.fs.Path(name)

    def put(self, local: Path, name: str) -> str:
        """Copies a folder; its URL."""
        self.client.copyFromLocalFile(self.path(local.as_uri()), self.path(name))
        return f"{self.url}{name}"

    def give(self, name: str, user: str) -> None:
        """Makes a folder the user's, and nobody else's."""
        self.client.setOwner(self.path(name), user, user)
        permission = self.jvm.org.apache.hadoop.fs.permission.FsPermission("700")
        self.client.setPermission(self.path(name), permission)

    def sent(self) -> int:
        """Bytes of blocks that readers have got, checksums among them."""
        log = (self.conf / "datanode.log").read_text()
        return sum(int(size) for size in re.findall(r"bytes: (\d+), op: HDFS_READ", log))

    def blocks(self) -> list[Path]:
        """The files in which the datanode holds the blocks."""
        found = (self.conf / "disk" / "dfs" / "data").rglob("blk_*")
        return [path for path in found if path.suffix != ".meta"]


@contextmanager
def serving(folder: Path, spark: Any) -> Iterator[Hdfs]:
    """Hdfs.conf is the folder: configuration, logs and disk."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"hdfs://127.0.0.1:{probe.getsockname()[1]}"
    core = {"fs.defaultFS": url, **{name: value.format(folder=folder) for name, value in CORE.items()}}
    configure(folder / "core-site.xml", core)
    configure(folder / "hdfs-site.xml", HDFS)
    (folder / "log4j.properties").write_text(LOG)
    # Pages of theirs, which they look for and which are in no jar.
    (folder / "webapps" / "hdfs").mkdir(parents=True)
    (folder / "webapps" / "datanode").mkdir()
    started = []
    try:
        assert server(folder, "namenode.NameNode", "-format").wait(60) == 0, said(folder, "namenode")
        namenode = server(folder, "namenode.NameNode")
        started.append(namenode)
        datanode = server(folder, "datanode.DataNode")
        started.append(datanode)
        ready = "Successfully sent block report"
        assert wait_for(lambda: ready in said(folder, "datanode"), 60), said(folder, "datanode")
        jvm = spark._jvm
        conf = jvm.org.apache.hadoop.conf.Configuration(spark._jsc.hadoopConfiguration())
        conf.set("dfs.blocksize", str(BLOCK))
        conf.set("dfs.replication", "1")
        client = jvm.org.apache.hadoop.fs.FileSystem.newInstance(jvm.java.net.URI(url), conf)
        try:
            yield Hdfs(url, folder, namenode, datanode, jvm, client)
        finally:
            client.close()
    finally:
        for process in started:
            process.kill()
            process.wait()


def configure(path: Path, settings: dict[str, str]) -> None:
    properties = "".join(
        f"<property><name>{name}</name><value>{value}</value></property>" for name, value in settings.items()
    )
    path.write_text(f"<configuration>{properties}</configuration>")


def server(folder: Path, name: str, *arguments: str) -> subprocess.Popen[bytes]:
    java = shutil.which("java")
    assert java is not None
    assert JARS.is_dir(), f"{JARS} is missing; run `make setup`"
    path = os.pathsep.join([str(folder), str(JARS / "*")])
    log = folder / f"{name.partition('.')[0]}.log"
    with log.open("wb") as output:
        return subprocess.Popen(
            [java, *JVM, "-cp", path, f"{SERVERS}.{name}", *arguments],
            env={key: value for key, value in os.environ.items() if not key.startswith("HADOOP_")},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )


def said(folder: Path, name: str) -> str:
    return (folder / f"{name}.log").read_text()
