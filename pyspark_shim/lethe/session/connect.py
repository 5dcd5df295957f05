"""A Spark Connect session: the SparkContext is in another process, perhaps on another host."""

from __future__ import annotations

import threading
from collections.abc import Callable

from lethe.session.base import Session
from lethe.task.place import address_towards


class ConnectSession(Session):
    @property
    def key(self) -> str:
        return f"connect-{self.spark.session_id}"

    def alive(self) -> bool:
        return not self.spark.is_stopped

    def driver_host(self) -> str:
        host = str(self.spark.client.host).strip("[]")
        return "127.0.0.1" if host in ("localhost", "127.0.0.1", "::1") else address_towards(f"{host}:9")

    def driver_bind(self) -> str | None:
        return None

    def slots(self) -> int:
        from pyspark.sql import functions as F

        # Connect does not say how many cores there are; a range has as many partitions as Spark sees cores.
        partitions = self.spark.range(0, 1000).select(F.spark_partition_id().alias("p")).distinct().collect()
        return max(1, len(partitions))

    def local_interpreter(self) -> None:
        # The server's environment decides, which is not ours to see.
        return None

    def thread(self, target: Callable[[], None]) -> threading.Thread:
        return threading.Thread(target=target)

    def mark(self, group: str, description: str) -> None:
        self.spark.addTag(group)

    def cancel(self, group: str) -> None:
        self.spark.interruptTag(group)
