"""Tables in HTML, for notebooks."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence


def escape(text: str) -> str:
    return html.escape(text)


def table(rows: Sequence[Sequence[str]], left: Sequence[int] = (), caption: str = "") -> str:
    """What `tables.text` writes in plain text: the first row is the heading, columns in `left` are set left.
    All of it is escaped here."""

    def line(tag: str, cells: Iterable[str]) -> str:
        styles = ("left" if column in left else "right" for column in range(len(rows[0])))
        inner = (
            f'<{tag} style="text-align: {style}">{escape(cell)}</{tag}>'
            for cell, style in zip(cells, styles, strict=True)
        )
        return f"<tr>{''.join(inner)}</tr>"

    heading, *others = rows
    body = "\n".join(line("td", row) for row in others)
    title = f'<caption style="text-align: left">{escape(caption)}</caption>\n' if caption else ""
    return f"<table>{title}<thead>{line('th', heading)}</thead>\n<tbody>\n{body}\n</tbody></table>"
