"""Each trial's metric by epoch."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from lethe.errors import ConfigError, LetheError
from lethe.plot import figure as common
from lethe.plot.study import Study

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_FINISHED, _STOPPED, _FAILED, _OTHER = "finished", "stopped early", "failed", "not ended"
_COLOURS = {
    _STOPPED: "#9A9A9A",
    _OTHER: common.SKY,
    _FINISHED: common.BLUE,
    _FAILED: common.VERMILLION,
}
#: Curve of one trial: epochs and values; NaN where there was none.
Curve = tuple[list[int], list[float]]


def curves(study: Study, metric: str | None) -> Figure:
    """A line a trial, a dot where it was stopped, a cross where it failed, and the best trial's above all.

    Raises ConfigError if the metric was never reported, LetheError if no trial has reported yet.
    """
    common.figure_type("plot.curves")
    chosen = next(iter(study.objectives)) if metric is None else metric
    found = _read(study, chosen)
    states = {trial.number: _group(trial.state) for trial in study.trials}
    values = [value for _, curve in found.values() for value in curve if math.isfinite(value)]
    if not values:
        raise LetheError(
            f"no trial of {study.name} has reported a finite {chosen}, so there is nothing to plot"
        )
    direction = study.objectives.get(chosen)
    figure = common.make("plot.curves", 4.4)
    axes = figure.add_subplot()
    low, high = common.limits(values, direction)
    log = common.wide(low, high, direction)
    if log:
        axes.set_yscale("log")
    axes.set_ylim(*common.padded(low, high, log))
    handles = [
        handle
        for group, colour in _COLOURS.items()
        if (handle := _draw(axes, {n: c for n, c in found.items() if states.get(n) == group}, group, colour))
    ]
    best = _best(study, chosen)
    if best in found:
        epochs, curve = found[best]
        (line,) = axes.plot(
            epochs, curve, color="black", linewidth=2.4, marker="o", markersize=3.5, zorder=5,
            label=f"best (trial {best})",
        )  # fmt: skip
        handles.append(line)
    axes.set_xlabel("epoch")
    axes.set_ylabel(common.towards(chosen, direction))
    reached = [epoch for epochs, _ in found.values() for epoch in epochs]
    common.whole(axes, min(reached), max(reached))
    common.look(axes)
    common.legend(axes, handles)
    common.title(figure, f"{study.name}: {chosen} of {common.plural(len(found), 'trial')} by epoch")
    beyond = sum(not low <= value <= high for value in values)
    common.notes(figure, [f"{beyond} of {len(values):,} values are beyond the axis"] if beyond else [])
    return figure


def _read(study: Study, metric: str) -> dict[int, Curve]:
    """By the trial. Where an epoch was trained again after a slot was lost, as it was then."""
    name = metric.replace("'", "''")
    rows = study.tables.query(
        f"select trial, epoch, value from metrics where metric = '{name}' order by trial, epoch, attempt"
    ).to_pydict()
    found: dict[int, dict[int, float]] = {}
    for trial, epoch, value in zip(rows["trial"], rows["epoch"], rows["value"], strict=True):
        found.setdefault(trial, {})[epoch] = math.nan if value is None else value
    if not found:
        rows = study.tables.query("select distinct metric from metrics order by metric").to_pydict()
        known = rows["metric"]
        if not known:
            raise LetheError(f"no trial of {study.name} has reported yet, so there is nothing to plot")
        raise ConfigError(f"no trial reported {metric!r}; {study.name} has {', '.join(known)}")
    return {trial: (list(curve), list(curve.values())) for trial, curve in found.items()}


def _group(state: str) -> str:
    known = {"finished": _FINISHED, "stopped": _STOPPED, "failed": _FAILED}
    return known.get(state, _OTHER)


def _best(study: Study, metric: str) -> int | None:
    if metric not in study.objectives:
        metric = next(iter(study.objectives))
    try:
        best = study.target(metric).best
    except LetheError:
        return None
    return None if best is None else best.number


def _draw(axes: Axes, found: dict[int, Curve], group: str, colour: str) -> Any:
    """The handle for the legend; None if there are none of them."""
    from matplotlib.collections import LineCollection
    from matplotlib.lines import Line2D

    if not found:
        return None
    crowd = min(1.0, max(0.12, 60 / len(found)))
    segments = [list(zip(*curve, strict=True)) for curve in found.values() if len(curve[0]) > 1]
    lines = LineCollection(segments, colors=colour, linewidths=1.0, alpha=0.75 * crowd, zorder=2)
    lines.set_label(group)
    axes.add_collection(lines)
    marker = "x" if group == _FAILED else "o"
    # A finished curve's end is seen; of a single epoch there is nothing but the point.
    ends = list(_ends(curve for curve in found.values() if group != _FINISHED or len(curve[0]) == 1))
    if ends:
        epochs, values = zip(*ends, strict=True)
        size = 22 if group == _FAILED else 9
        axes.scatter(epochs, values, s=size, marker=marker, color=colour, alpha=max(0.35, crowd), zorder=3)
    shown = marker if group != _FINISHED else ""
    return Line2D([], [], color=colour, marker=shown, markersize=4, label=f"{group} ({len(found)})")


def _ends(curves: Iterable[Curve]) -> Iterable[tuple[int, float]]:
    """The last finite value of each."""
    for epochs, values in curves:
        for epoch, value in zip(reversed(epochs), reversed(values), strict=True):
            if math.isfinite(value):
                yield epoch, value
                break
