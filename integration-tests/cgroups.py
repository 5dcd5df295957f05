"""A memory limit for some of a test's processes, by a cgroup of their own, of version 1 or 2."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import wait_for

ROOT = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Limited:
    """A cgroup below this process's own. parent: that one."""

    folder: Path
    parent: Path
    limit: int

    @contextmanager
    def inside(self) -> Iterator[None]:
        """What this process starts meanwhile is limited, and whatever that starts."""
        _write(self.folder / "cgroup.procs", os.getpid())
        try:
            yield
        finally:
            _write(self.parent / "cgroup.procs", os.getpid())

    def pids(self) -> set[int]:
        return {int(pid) for pid in (self.folder / "cgroup.procs").read_text().split()}

    @property
    def peak(self) -> int:
        """Bytes that its processes took at most, with the files that they have mapped or read."""
        for name in ("memory.max_usage_in_bytes", "memory.peak"):
            if (self.folder / name).exists():
                return int((self.folder / name).read_text())
        return int((self.folder / "memory.current").read_text())

    @property
    def killed(self) -> int:
        """Processes that were killed for memory."""
        for name in ("memory.events", "memory.oom_control"):
            if (self.folder / name).exists():
                lines = (line.split() for line in (self.folder / name).read_text().splitlines())
                return int(dict(lines).get("oom_kill", 0))
        return 0


@contextmanager
def limited(limit: int) -> Iterator[Limited]:
    """Skips the test where no cgroup can be made."""
    try:
        parent, name = _own()
        folder = parent / f"lethe-test-{os.getpid()}"
        folder.mkdir()
    except (OSError, LookupError) as error:
        pytest.skip(f"no memory cgroup can be made here: {error}")
    try:
        try:
            _write(folder / name, limit)
        except OSError as error:
            pytest.skip(f"a cgroup can be made here, but has no memory limit: {error}")
        yield Limited(folder, parent, limit)
    finally:
        assert wait_for(lambda: not (folder / "cgroup.procs").read_text(), 20), (
            "processes are left in the cgroup"
        )
        folder.rmdir()


def _own() -> tuple[Path, str]:
    """This process's cgroup, and the file of its children that sets a limit."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            return ROOT / "memory" / path.strip("/"), "memory.limit_in_bytes"
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        if line.startswith("0::"):
            return ROOT / line[3:].strip("/"), "memory.max"
    raise LookupError("this process is in no cgroup")


def _write(path: Path, value: int) -> None:
    # Not created where the kernel has no such file.
    with path.open("r+") as file:
        file.write(str(value))
