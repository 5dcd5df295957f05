"""How an error of Lethe's looks in a notebook: what happened first, then the user's own lines."""

from __future__ import annotations

import linecache
import re
import traceback
from pathlib import Path

from lethe.notebook import kernel

_OWN = str(Path(__file__).parents[1]) + "/"
#: A line of a traceback in text.
_FRAME = re.compile(r'^(?P<indent> *)File "(?P<file>[^"]+)", line (?P<line>\d+)(?P<rest>.*)$')
#: "/tmp/x.py:3", as torch.jit.script names a line.
_PLACE = re.compile(r"(?P<file>/[^\s:\"]+\.py):(?P<line>\d+)")


def render(error: BaseException) -> list[str]:
    """The message, and the user's frames. All frames, in IPython's own way, after `%xmode Verbose`."""
    shell = kernel.shell()
    if shell is not None and shell.InteractiveTB.mode == "Verbose":
        found: list[str] = shell.InteractiveTB.structured_traceback(type(error), error, error.__traceback__)
        return found
    lines = [f"\x1b[31m{type(error).__name__}\x1b[39m: {by_cells(str(error)).rstrip()}", ""]
    lines += by_cells("".join(traceback.format_list(_users(error)))).rstrip().split("\n")
    cause = error.__cause__
    # Most errors say it in their own words.
    if cause is not None and traceback.format_exception_only(cause)[-1].strip() not in str(error):
        lines += ["", "because of", *render(cause)]
    return lines


def _users(error: BaseException) -> list[tuple[str, int, str, str | None]]:
    """Its frames without Lethe's and IPython's."""
    frames = traceback.extract_tb(error.__traceback__)
    return [
        (frame.filename, frame.lineno or 0, frame.name, frame.line)
        for frame in frames
        if not frame.filename.startswith((_OWN, "<")) and "/IPython/core/" not in frame.filename
    ]


def by_cells(text: str) -> str:
    """The text with cells' names in place of the files of their code, and those lines' source where it is not
    given: a worker has no copy of the notebook. The same text where there is no notebook."""
    lines = text.split("\n")
    shown: list[str] = []
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        frame = _FRAME.match(line)
        cell = None if frame is None else _cell(frame["file"])
        if frame is None or cell is None:
            shown.append(_PLACE.sub(_named, line))
            continue
        shown.append(f"{frame['indent']}{cell}, line {frame['line']}{frame['rest']}")
        source = linecache.getline(frame["file"], int(frame["line"])).strip()
        deeper = f"{frame['indent']}  "
        if source and not following.startswith(deeper):
            shown.append(deeper + source)
    return "\n".join(shown)


def _named(place: re.Match[str]) -> str:
    cell = _cell(place["file"])
    return place[0] if cell is None else f"{cell}, line {place['line']}"


def _cell(file: str) -> str | None:
    """The name that IPython shows for this file's code, "Cell In[3]"; None if it is no cell's."""
    shell = kernel.shell()
    named = None if shell is None else shell.compile.format_code_name(file)
    return None if named is None else " ".join(named)
