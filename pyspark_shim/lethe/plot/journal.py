"""An experiment's journal, as docs/journal.md describes it: the plan, and what the tables do not have."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any

from lethe.errors import LetheError

JOURNAL = "journal.log"
#: Of the records' JSON, by which those that are not asked for are passed over.
_EVENT = re.compile(rb'\{"at":(\d+),"event":\{"type":"(\w+)"')


def records(directory: Path, kinds: Container[str] = ()) -> Iterator[dict[str, Any]]:
    """The header, all `resumed`, the events of these kinds, and the last record of whatever kind, in order. A
    `resumed` has `before`, too: when the record before it was written.

    A record that is being written, or that a killed driver left, ends it.
    Raises LetheError if the folder has no journal.
    """
    try:
        file = (directory / JOURNAL).open("rb")
    except OSError as error:
        raise LetheError(f"the journal of {directory.name} cannot be read: {error}") from None
    before, passed = 0, b""
    with file:
        for line in file:
            event = _EVENT.match(line, 9)
            if event and event[2].decode() not in kinds:
                before, passed = int(event[1]), line
                continue
            found = _parsed(line)
            if found is None:
                return
            if "resumed" in found:
                found["before"] = before
            before, passed = found.get("at", before), b""
            yield found
    if passed and (last := _parsed(passed)) is not None:
        yield last


def _parsed(line: bytes) -> dict[str, Any] | None:
    text = line[9:-1]
    if not line.endswith(b"\n") or line[:8] != b"%08x" % zlib.crc32(text):
        return None
    found: dict[str, Any] = json.loads(text)
    return found


def plan(directory: Path) -> dict[str, Any]:
    """The message `Plan` under which the experiment ran last, without the secrets of its store.

    Raises LetheError if the folder has no journal.
    """
    found: dict[str, Any] | None = None
    for record in records(directory):
        found = record.get("resumed", record).get("plan", found)
    if found is None:
        raise LetheError(f"the journal of {directory.name} is empty: {directory / JOURNAL}")
    return found
