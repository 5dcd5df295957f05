"""A line a trial through its hyperparameters to its value: parallel coordinates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lethe.errors import LetheError
from lethe.plot import figure as common
from lethe.plot.scale import Scale, scale
from lethe.plot.study import Study, Target, Trial

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Where a hyperparameter that a trial does not have is, and a value that it does not.
_NONE = -0.13
_ROOM = 0.04
#: The strip of colours, a share of the axes' width.
_STRIP = 0.022
#: Hyperparameters that are drawn, the first in the space's order.
MOST = 30
#: Categories of which each has its name.
_NAMED = 12
_GOLDEN = 0.618034


def parallel(study: Study, metric: str | None) -> Figure:
    """The better, the darker; the best in black. What a trial does not have is below the axes: a conditional
    hyperparameter, or the value, where it failed.

    Raises LetheError if no trial has a hyperparameter, and as `Study.target` does.
    """
    common.figure_type("plot.parallel")
    target = study.target(metric)
    names = [name for name in study.hparams if any(name in trial.hparams for trial in study.trials)]
    if not names:
        raise LetheError(f"the trials of {study.name} have no hyperparameters, so there is nothing to plot")
    names, hidden = names[:MOST], names[MOST:]
    scales = [
        scale(study.space.get(name), (t.hparams[name] for t in study.trials if name in t.hparams))
        for name in names
    ]
    low, high = common.limits(target.values, target.direction)
    scales.append(Scale(low, high, common.wide(low, high, target.direction)))
    failed = study.failed
    lines = {t.number: _line(t, names, scales, target) for t in [*target.trials, *failed]}
    count = len(scales)
    figure = common.make("plot.parallel", 4.6, max(common.WIDTH_INCHES, 1.2 * count + 0.8))
    axes = figure.add_subplot()
    absent = any(min(line) < -_ROOM for line in lines.values())
    bottom = _NONE - _ROOM if absent else -_ROOM
    axes.set_ylim(bottom, 1 + _ROOM)
    axes.set_xlim(-_ROOM * (count - 1), (1 + _STRIP) * (count - 1))
    handles = _draw(axes, target, failed, lines)
    _strip(axes, target, count - 1)
    titles = [*names, target.metric]
    for place, one in enumerate(scales):
        _axis(axes, place / (count - 1), one, bottom, titles[place])
    axes.set_xticks(range(count), [common.short(name, 22) for name in titles], color=common.INK)
    turned = {"rotation": 25, "ha": "left"} if count > 8 else {}
    axes.tick_params(axis="x", top=False, labeltop=True, bottom=False, labelbottom=False, pad=3)
    for label in axes.get_xticklabels():
        label.set(**turned)
    axes.get_xticklabels()[-1].set_fontweight("bold")
    axes.set_yticks([_NONE] if absent else [], ["none"] if absent else [], fontsize=8.5, color=common.PALE)
    axes.tick_params(axis="y", length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    _legend(axes, handles)
    common.title(figure, f"{study.name}: {common.plural(len(lines), 'trial')} by {target.metric}")
    common.notes(figure, _notes(target, low, high, absent, hidden))
    return figure


def _line(trial: Trial, names: list[str], scales: list[Scale], target: Target) -> list[float]:
    line = []
    for name, one in zip(names, scales, strict=False):
        there = name in trial.hparams
        place = one.place(trial.hparams[name]) if there else _NONE
        if one.levels or not there:
            # Lines through one category would lie upon each other.
            spread = min(0.05, 0.5 / max(1, len(one.levels)))
            place += spread * ((trial.number * _GOLDEN) % 1 - 0.5)
        line.append(place)
    last = scales[-1]
    # A value beyond the axis is at its end.
    failed = trial.state == "failed"
    line.append(_NONE if failed else last.place(min(max(target.value(trial), last.low), last.high)))
    return line


def _draw(axes: Axes, target: Target, failed: list[Trial], lines: dict[int, list[float]]) -> list[Any]:
    """Returns the handles for the legend."""
    from matplotlib.collections import LineCollection
    from matplotlib.lines import Line2D

    sign = -1 if target.direction == "min" else 1
    ordered = sorted(target.trials, key=lambda trial: sign * target.value(trial))
    crowd = min(0.85, max(0.12, 60 / len(lines)))
    valued = LineCollection(
        [list(enumerate(lines[trial.number])) for trial in ordered],
        cmap=_colours(target),
        linewidths=1.1 if crowd > 0.4 else 0.8,
        alpha=crowd,
        zorder=2,
    )
    valued.set_array([lines[trial.number][-1] for trial in ordered])
    valued.set_clim(0, 1)
    valued.set_label("trials")
    axes.add_collection(valued)
    handles: list[Any] = []
    if failed:
        segments = [list(enumerate(lines[trial.number])) for trial in failed]
        broken = LineCollection(
            segments,
            colors=common.VERMILLION,
            linewidths=1.0,
            linestyles=":",
            alpha=min(0.9, 2 * crowd),
            zorder=3,
        )
        broken.set_label("failed")
        axes.add_collection(broken)
        handles.append(
            Line2D([], [], color=common.VERMILLION, linestyle=":", label=f"failed ({len(failed)})")
        )
    if target.best is not None:
        (line,) = axes.plot(lines[target.best.number], color="black", linewidth=2.2, zorder=4)
        line.set_label(f"best (trial {target.best.number}: {target.value(target.best):.4g})")
        handles.insert(0, line)
    return handles


def _colours(target: Target) -> str:
    """Dark is good, for pale lines are hard to see."""
    return "viridis" if target.direction == "min" else "viridis_r"


def _strip(axes: Axes, target: Target, place: int) -> None:
    """The colours, along the value's axis."""
    shades = [[step / 100] for step in range(101)]
    extent = (place, place * (1 + _STRIP), 0.0, 1.0)
    axes.imshow(shades, extent=extent, origin="lower", aspect="auto", cmap=_colours(target), zorder=5)


def _axis(host: Axes, position: float, one: Scale, bottom: float, name: str) -> None:
    axes = host.twinx()
    axes.set_label(name)
    if one.log:
        axes.set_yscale("log")
    axes.set_ylim(one.at(bottom), one.at(1 + _ROOM))
    for side in ("top", "bottom", "left"):
        axes.spines[side].set_visible(False)
    last = position == 1.0
    spine = axes.spines["right"]
    spine.set_position(("axes", 1.0 if last else (position + _ROOM) / (1 + _ROOM + _STRIP)))
    spine.set_bounds(one.at(0), one.at(1))
    spine.set_color(common.INK)
    ticks, labels = _ticks(one)
    axes.set_yticks(ticks, labels)
    axes.set_yticks([], minor=True)
    axes.tick_params(axis="y", length=0 if last else 3, labelsize=8.5, pad=2, colors=common.INK)
    for label in axes.get_yticklabels():
        label.set_bbox({"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.6})
        label.set_zorder(6)


def _ticks(one: Scale) -> tuple[list[float], list[str]]:
    from matplotlib.ticker import LogLocator, MaxNLocator

    if one.levels:
        every = -(-len(one.levels) // _NAMED)
        shown = [
            (float(place), common.short(name, 16)) for name, place in one.levels.items() if place % every == 0
        ]
        return [place for place, _ in shown], [name for _, name in shown]
    if one.low == one.high:
        return [one.low], [_number(one.low)]
    locator: Any = LogLocator() if one.log else MaxNLocator(5, integer=one.whole)
    ticks = [float(tick) for tick in locator.tick_values(one.low, one.high)]
    ticks = [tick for tick in ticks if one.low <= tick <= one.high * (1 + 1e-9)]
    if one.log and len(ticks) < 3:
        # Less than two orders of magnitude: the ends say more.
        ticks = [one.at(share) for share in (0, 0.25, 0.5, 0.75, 1)]
        ticks = [float(round(tick)) for tick in ticks] if one.whole else ticks
    return ticks, [_number(tick) for tick in ticks]


def _number(value: float) -> str:
    return common.signed(f"{value:.3g}")


def _legend(axes: Axes, handles: list[Any]) -> None:
    if handles:
        axes.legend(
            handles=handles, loc="upper left", bbox_to_anchor=(0, 0), ncols=len(handles), frameon=False,
            fontsize=9, labelcolor=common.INK,
        )  # fmt: skip


def _notes(target: Target, low: float, high: float, absent: bool, hidden: list[str]) -> list[str]:
    lines = []
    if absent:
        lines.append("none: a hyperparameter that the trial does not have, or no value of the metric")
    if beyond := sum(not low <= value <= high for value in target.values):
        lines.append(f"{common.plural(beyond, 'value')} beyond the last axis: at its end")
    if hidden:
        lines.append(f"{common.plural(len(hidden), 'further hyperparameter')} not drawn")
    return lines
