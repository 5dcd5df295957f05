"""What each slot did over time: a Gantt chart."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lethe.plot import figure as common
from lethe.plot.attempts import IDLE, LOADING, LOST, SAVING, STARTING, TRAINING, Timeline, timeline

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lethe.result.sql import Tables

#: Idle time is what the chart is to show: it has the colour that stands out.
COLOURS = {
    STARTING: "#BBBBBB",
    LOADING: common.SKY,
    TRAINING: common.BLUE,
    SAVING: common.GREEN,
    LOST: "#555555",
    IDLE: common.VERMILLION,
}
_MEANT = {LOST: "lost or running"}
#: Slots that are drawn; of more, so many from the first to the last.
MOST = 100
#: Attempts of a slot between which there is room for a line.
_ROOM = 60
_UNITS = ((300.0, 1.0, "seconds"), (3 * 3600.0, 60.0, "minutes"), (4 * 86400.0, 3600.0, "hours"))


def slots(directory: Path, tables: Tables) -> Figure:
    """One row a slot, in the colours of what it did, and on the right the share of its time that it trained.

    Raises InstallError without Matplotlib, LetheError if no slot was ever held.
    """
    common.figure_type("plot.slots")
    found = timeline(directory, tables)
    drawn = _some(found.slots)
    height = min(0.34, 9.0 / len(drawn))
    figure = common.make("plot.slots", 1.6 + height * max(2, len(drawn)))
    axes = figure.add_subplot()
    unit, name = _unit(found.seconds)
    _bars(axes, found, drawn, unit)
    for moment in found.resumed:
        axes.axvline(moment / unit, color=common.INK, linestyle=":", linewidth=1.2, zorder=4)
    axes.set_xlim(0, max(found.seconds, 1e-3) / unit)
    axes.set_ylim(len(drawn) - 0.45, -0.55)
    every = max(1, -(-len(drawn) // 40))
    places = list(range(0, len(drawn), every))
    axes.set_yticks(places, [f"slot {drawn[place]}" for place in places])
    axes.set_xlabel(f"time, {name}")
    common.look(axes, "x")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    if every == 1:
        _trained(axes, found, drawn)
    _legend(axes, found)
    attempts, count = common.plural(found.attempts, "attempt"), common.plural(len(found.slots), "slot")
    common.title(figure, f"{directory.name}: {attempts} on {count}")
    common.notes(figure, _notes(found, drawn))
    return figure


def _bars(axes: Axes, found: Timeline, drawn: list[int], unit: float) -> None:
    places = {slot: place for place, slot in enumerate(drawn)}
    ranges: dict[tuple[int, str], list[tuple[float, float]]] = {}
    begins: dict[int, list[float]] = {}
    for stretch in found.stretches:
        if stretch.slot not in places:
            continue
        begin, width = stretch.begin / unit, (stretch.end - stretch.begin) / unit
        ranges.setdefault((stretch.slot, stretch.kind), []).append((begin, width))
        if stretch.kind in (LOADING, LOST):
            begins.setdefault(stretch.slot, []).append(begin)
    for (slot, kind), spans in ranges.items():
        bars = axes.broken_barh(
            spans, (places[slot] - 0.4, 0.8), facecolors=COLOURS[kind], linewidth=0, zorder=2
        )
        bars.set_label(f"slot {slot} {kind}")
    if all(len(moments) <= _ROOM for moments in begins.values()):
        for slot, moments in begins.items():
            place = places[slot]
            axes.vlines(moments, place - 0.4, place + 0.4, color="white", linewidth=0.8, zorder=3)


def _trained(axes: Axes, found: Timeline, drawn: list[int]) -> None:
    for place, slot in enumerate(drawn):
        axes.annotate(
            f"{found.shares(slot)[TRAINING]:.0%}",
            (1, place),
            xycoords=("axes fraction", "data"),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
            color=common.INK,
            annotation_clip=False,
        )


def _legend(axes: Axes, found: Timeline) -> None:
    from matplotlib.patches import Patch

    shares = found.shares()
    handles = [
        Patch(color=colour, label=f"{_MEANT.get(kind, kind)} {shares[kind]:.1%}" if kind in shares else kind)
        for kind, colour in COLOURS.items()
        if kind == IDLE or any(stretch.kind == kind for stretch in found.stretches)
    ]
    common.legend(axes, handles)


def _notes(found: Timeline, drawn: list[int]) -> list[str]:
    lines = ["shares of the time from when a slot was ready"]
    if len(drawn) <= 40:
        lines[0] += "; on the right: that it trained"
    if found.resumed:
        lines.append("dotted: resumed; the time before that nobody ran it is left out")
    if len(drawn) < len(found.slots):
        lines.append(f"{len(drawn)} of {len(found.slots):,} slots are drawn; the shares are of all")
    return lines


def _some(slots: list[int]) -> list[int]:
    if len(slots) <= MOST:
        return slots
    return [slots[round(place * (len(slots) - 1) / (MOST - 1))] for place in range(MOST)]


def _unit(seconds: float) -> tuple[float, str]:
    """So many seconds, and their name."""
    for most, unit, name in _UNITS:
        if seconds < most:
            return unit, name
    return 86400.0, "days"
