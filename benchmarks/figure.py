"""One measured figure: a line of JSON, and a row of the table at the end."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Figure:
    """A value beside a peer's, both measured in this run.

    versus: the peer's value in the same unit, None where there is no peer.
    ratio: value / versus. aim: what `value` or `ratio` is to reach, in words.
    """

    figure: str
    value: float
    unit: str
    versus: dict[str, float] | None
    ratio: float | None
    aim: str

    def line(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False)


def compared(figure: str, value: float, unit: str, peer: str, versus: float, aim: str) -> Figure:
    return Figure(
        figure,
        round(value, 4),
        unit,
        {peer: round(versus, 4)},
        round(value / versus, 3) if versus else None,
        aim,
    )


def alone(figure: str, value: float, unit: str, aim: str) -> Figure:
    return Figure(figure, round(value, 4), unit, None, None, aim)


def table(figures: list[Figure]) -> str:
    rows = [("figure", "value", "unit", "versus", "ratio", "aim")]
    for f in figures:
        versus = (
            "" if f.versus is None else ", ".join(f"{name} {value:.4g}" for name, value in f.versus.items())
        )
        rows.append(
            (f.figure, f"{f.value:.4g}", f.unit, versus, "" if f.ratio is None else f"{f.ratio:.2f}", f.aim)
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows
    )
