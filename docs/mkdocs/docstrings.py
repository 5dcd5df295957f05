"""Docstrings name arguments as `name: what it is`, a line each, and public names in backticks; the site shows
a list, and links."""

from __future__ import annotations

import re
from typing import Any

import griffe

#: A line that begins with one name or several, perhaps with a mark; what follows belongs to it.
NAMED = re.compile(r"^(?P<names>\w+(?:, \w+)*)(?P<mark> \*)?: (?P<text>.*)$")
#: A class of the package or `lagom`, perhaps with arguments.
PUBLIC = re.compile(r"`(?P<lethe>lethe\.)?(?P<name>[A-Z]\w+|lagom)(?:\([^`]*\))?`")


class NamedArguments(griffe.Extension):
    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            text = listed(obj.docstring.value, known(obj))
            obj.docstring.value = linked(text, obj, set(obj.package.exports or ()))


def linked(text: str, obj: griffe.Object, public: set[str]) -> str:
    """With links to what the package exports; `lethe.maggy` has names of its own."""
    foreign = obj.path.startswith("lethe.maggy")

    def link(found: re.Match[str]) -> str:
        name = found["name"]
        if name not in public or name == obj.name or (foreign and not found["lethe"]):
            return found[0]
        return f"[{found[0]}][lethe.{name}]"

    return PUBLIC.sub(link, text)


def known(obj: griffe.Object) -> set[str]:
    """The names that its docstring may explain."""
    names = {"None"}
    if obj.is_function:
        names |= {parameter.name for parameter in obj.parameters}
    elif obj.is_class:
        names |= {name for one in [obj, *_bases(obj)] for name in one.members}
        names |= {parameter.name for parameter in obj.parameters}
        for function in (one.members.get("__init__") for one in [obj, *_bases(obj)]):
            if function is not None and function.is_function:
                names |= {parameter.name for parameter in function.parameters}
                names |= set(re.findall(r"self\.(\w+)", function.source))
    return names


def _bases(obj: griffe.Object) -> list[griffe.Object]:
    try:
        return list(obj.mro())
    except ValueError:
        return []


def listed(text: str, names: set[str]) -> str:
    """The docstring with its explained names as a Markdown list."""
    lines: list[str] = []
    within = False
    for line in text.splitlines():
        found = NAMED.match(line)
        if found is not None and set(found["names"].split(", ")) <= names:
            if not within and lines and lines[-1].strip():
                lines.append("")
            shown = ", ".join(f"`{name}`" for name in found["names"].split(", "))
            lines.append(f"- {shown}{found['mark'] or ''}: {found['text']}".replace(" *:", r" \*:"))
            within = True
        else:
            # A paragraph's end is the list's; until then an item goes on.
            within = within and bool(line.strip())
            lines.append(line.strip() if within else line)
    return "\n".join(lines)
