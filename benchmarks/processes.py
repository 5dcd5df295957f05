"""What a set of processes has used, from /proc."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def children() -> dict[int, list[int]]:
    """By parent, all processes of the host."""
    found: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            found.setdefault(int(fields[1]), []).append(int(entry.name))
    return found


def tree(roots: Iterable[int]) -> list[int]:
    """These processes and all that descend from them."""
    parents, found, waiting = children(), [], list(roots)
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        waiting += parents.get(pid, [])
    return found


def cpu_s(pids: Iterable[int]) -> float:
    """Seconds of CPU, user and system, that they and the children they have waited for took."""
    return sum(sum(int(field) for field in fields[11:15]) for pid in pids if (fields := _stat(pid))) / TICKS


def memory_mb(pids: Iterable[int]) -> tuple[float, float]:
    """Proportional set size: all they hold, shared pages once; and the private memory that is no file's."""
    pss = private = 0
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        sizes = {line.split(":")[0]: int(line.split()[1]) for line in lines[1:]}
        pss += sizes["Pss"]
        private += sizes["Anonymous"]
    return pss / 1e3 * 1.024, private / 1e3 * 1.024


def _stat(pid: int) -> list[str] | None:
    """Fields of /proc/<pid>/stat from the third on; None if there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    return text.rsplit(")", 1)[1].split()
