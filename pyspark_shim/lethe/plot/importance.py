"""How much each hyperparameter matters, as bars."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lethe.plot import figure as common
from lethe.plot.forest import FOLDS, Importance
from lethe.plot.forest import importance as learn
from lethe.plot.study import Study, Target

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Bars that are drawn, those of the most important.
MOST = 20
#: Below, the forest says little.
_LITTLE = 0.2


def importance(study: Study, metric: str | None) -> Figure:
    """A bar a hyperparameter, the most important at the top; of several metrics one panel each. Raises as
    `forest.importance` does."""
    common.figure_type("plot.importance")
    targets = study.targets(metric)
    found = [learn(study, target) for target in targets]
    drawn = max(min(MOST, len(one.names)) for one in found)
    figure = common.make("plot.importance", 1.0 + len(found) * (0.8 + 0.34 * max(2, drawn)))
    panels = figure.subplots(len(found), 1, sharex=True, squeeze=False)[:, 0]
    for axes, target, one in zip(panels, targets, found, strict=True):
        _panel(axes, target, one)
    panels[-1].set_xlabel("importance: growth of the error when shuffled, share of the variance of ranks")
    common.title(figure, f"{study.name}: what matters for {', '.join(t.metric for t in targets)}")
    common.notes(figure, _notes(targets, found))
    return figure


def _panel(axes: Axes, target: Target, found: Importance) -> None:
    names, means, deviations = found.names[:MOST], found.means[:MOST], found.deviations[:MOST]
    places = range(len(names))
    axes.barh(places, means, color=common.BLUE, height=0.62, zorder=2)
    axes.errorbar(
        means, places, xerr=deviations, fmt="none", ecolor=common.INK, elinewidth=1.2, capsize=3, zorder=3
    )
    for place, mean, deviation in zip(places, means, deviations, strict=True):
        axes.annotate(
            common.rounded(mean),
            (max(mean + deviation, 0.0), place),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
            color=common.INK,
        )
    axes.set_yticks(places, [common.short(name) for name in names])
    axes.set_ylim(len(names) - 0.45, -0.55)
    axes.margins(x=0.1)
    common.look(axes, "x")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.axvline(0, color=common.INK, linewidth=1, zorder=4)
    explained = common.rounded(found.explained)
    known = f"{target.metric}: {found.trials:,} trials, a random forest explains R² = {explained}"
    axes.set_title(known, loc="left", fontsize=9.5, color=common.INK)


def _notes(targets: list[Target], found: list[Importance]) -> list[str]:
    lines = [
        f"permutation importance on trials that the forest has not seen; lines: deviation over {FOLDS} folds"
    ]
    if any(one.explained < _LITTLE for one in found):
        lines.append("an R² this low means that these say little yet: more trials help")
    stopped = sum(trial.state == "stopped" for trial in targets[0].trials)
    if stopped:
        lines.append(f"{stopped:,} trials were stopped early and count with the value that they had then")
    hidden = max(len(one.names) for one in found) - MOST
    if hidden > 0:
        lines.append(f"{common.plural(hidden, 'less important hyperparameter')} not drawn")
    return lines
