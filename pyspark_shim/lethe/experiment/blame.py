"""What the user's own code raised, as text for the journal and the result."""

from __future__ import annotations

import traceback
from pathlib import Path

_OWN = str(Path(__file__).parents[1]) + "/"
CHARACTERS = 100_000


def raised(who: str, error: BaseException) -> str:
    """The exception first, then where it was raised, without Lethe's own frames."""
    frames = traceback.extract_tb(error.__traceback__)
    users = [frame for frame in frames if not frame.filename.startswith(_OWN)] or list(frames)
    first = traceback.format_exception_only(type(error), error)[-1].strip()[:CHARACTERS]
    return f"{who} raised {first}\n" + "".join(traceback.format_list(users))[-CHARACTERS:]
