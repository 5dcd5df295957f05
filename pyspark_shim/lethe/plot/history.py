"""Each trial's value, and the best so far."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lethe.plot import figure as common
from lethe.plot.study import Study, Target, Trial

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Of trials by their state; all others are as if finished.
_STOPPED = "stopped"


def history(study: Study, metric: str | None) -> Figure:
    """A point a trial, hollow where it was stopped early, a cross where it failed; a line for the best so
    far. Values that are very much worse than most are arrows at the edge."""
    common.figure_type("plot.history")
    targets = study.targets(metric)
    figure = common.make("plot.history", 1.2 + 2.8 * len(targets))
    panels = figure.subplots(len(targets), 1, sharex=True, squeeze=False)[:, 0]
    for axes, target in zip(panels, targets, strict=True):
        _panel(axes, study, target)
    panels[-1].set_xlabel("trial")
    best = ", ".join(
        f"best {target.metric} {target.value(target.best):.4g} (trial {target.best.number})"
        for target in targets
        if target.best is not None
    )
    common.title(figure, f"{study.name}: {common.signed(best) or common.plural(len(study.trials), 'trial')}")
    return figure


def _panel(axes: Axes, study: Study, target: Target) -> None:
    low, high = common.limits(target.values, target.direction)
    log = common.wide(low, high, target.direction)
    if log:
        axes.set_yscale("log")
    bottom, top = common.padded(low, high, log)
    axes.set_ylim(bottom, top)
    size = 26 if len(target.trials) <= 200 else 12
    handles: list[Any] = []

    def points(trials: list[Trial], label: str, **marks: object) -> None:
        if trials:
            numbers, values = [t.number for t in trials], [target.value(t) for t in trials]
            handles.append(axes.scatter(numbers, values, s=size, label=label, zorder=3, **marks))  # type: ignore[arg-type]

    inside = [t for t in target.trials if low <= target.value(t) <= high]
    points([t for t in inside if t.state != _STOPPED], "trial", color=common.BLUE, linewidths=0)
    hollow = {"facecolors": "none", "edgecolors": common.SKY, "linewidths": 1.1}
    points([t for t in inside if t.state == _STOPPED], "stopped early", **hollow)
    for marker, edge, beyond in (
        ("^", top, [t.number for t in target.trials if target.value(t) > high]),
        ("v", bottom, [t.number for t in target.trials if target.value(t) < low]),
    ):
        if beyond:
            label = f"beyond the axis ({len(beyond)})"
            marks = axes.scatter(
                beyond, [edge] * len(beyond), s=34, marker=marker, color=common.ORANGE, label=label,
                clip_on=False, zorder=4,
            )  # fmt: skip
            handles.append(marks)
    if failed := [trial.number for trial in study.failed]:
        crosses = axes.scatter(
            failed, [0.0] * len(failed), s=30, marker="x", color=common.VERMILLION, linewidths=1.4,
            label=f"failed ({len(failed)})", transform=axes.get_xaxis_transform(), clip_on=False, zorder=4,
        )  # fmt: skip
        handles.append(crosses)
    last = max(failed + [trial.number for trial in target.trials])
    if target.direction is not None:
        numbers, best = _best(target, last)
        (line,) = axes.step(
            numbers, best, where="post", color=common.INK, linewidth=1.6, label="best so far", zorder=2
        )
        handles.append(line)
    axes.set_ylabel(common.towards(target.metric, target.direction))
    common.whole(axes, 0, last)
    common.look(axes)
    common.legend(axes, handles)


def _best(target: Target, last: int) -> tuple[list[int], list[float]]:
    """Where it becomes better, and at the last trial."""
    better = max if target.direction == "max" else min
    numbers: list[int] = []
    best: list[float] = []
    for trial in target.trials:
        value = target.value(trial)
        if not best or better(best[-1], value) != best[-1]:
            numbers.append(trial.number)
            best.append(value)
    return [*numbers, last], [*best, best[-1]]
