"""An experiment's journal, read as its page says."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any


def events(folder: Path) -> list[dict[str, Any]]:
    """Of its whole records; none where there is no journal yet."""
    try:
        return parsed((folder / "journal.log").read_bytes())
    except FileNotFoundError:
        return []


def parsed(journal: bytes) -> list[dict[str, Any]]:
    found = []
    for line in journal.split(b"\n")[:-1]:
        crc, text = line[:8], line[9:]
        assert zlib.crc32(text) == int(crc, 16), line
        record = json.loads(text)
        if "event" in record:
            found.append(record["event"])
    return found


def trains_after(events: list[dict[str, Any]], epoch: int) -> bool:
    """Whether a trial trains on after it was asked about at this epoch, and will for a while."""
    last = next((event for event in reversed(events) if event["type"] in ("report", "ended")), None)
    return last is not None and last["type"] == "report" and epoch < last["epoch"] < 2 * epoch


def count(folder: Path, kind: str, **fields: Any) -> int:
    """Events of this kind with these fields."""
    return sum(
        event["type"] == kind and all(event[name] == value for name, value in fields.items())
        for event in events(folder)
    )
