"""Names like one that is not there."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

#: Names that are listed where none is alike.
LISTED = 20


def hint(name: str, there: Iterable[str]) -> str:
    """Near names, or the first of all: "did you mean encoder.2?"."""
    names = list(dict.fromkeys(there))
    if not names:
        return "there are none"
    lower = {one.lower(): one for one in names}
    near = [lower[found] for found in difflib.get_close_matches(name.lower(), list(lower), 3, 0.5)]
    if near:
        return f"did you mean {', '.join(near)}?"
    more = f", and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return f"there are: {', '.join(names[:LISTED])}{more}"
