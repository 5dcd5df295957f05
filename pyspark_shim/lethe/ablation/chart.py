"""A study's differences as a bar chart. Matplotlib is an extra: pip install 'lethe[charts]'."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from lethe.plot import figure as common

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lethe.ablation.report import AblationTable, Effect

WORSE, BETTER = common.VERMILLION, common.BLUE
_INK, _PALE = common.INK, common.PALE
#: Bars that are drawn, those of the largest differences; a study of all columns may have thousands.
MOST = 40
#: Opacity where the interval has 0 inside.
_PALE_BAR = 0.4
_ROW_INCHES = 0.32


def chart(table: AblationTable) -> Figure:
    """One horizontal bar a component, the most important at the top: how the metric differs from the base's
    without it, and the confidence interval where there is one. Those without a difference are listed below
    it; of more than 40 components only those of the largest differences are drawn.

    Raises InstallError without matplotlib.
    """
    common.figure_type("chart")
    from matplotlib.patches import Patch

    known = [effect for effect in table.components if not math.isnan(effect.difference)]
    drawn, hidden = _largest(known)
    figure = common.make("chart", 1.7 + _ROW_INCHES * max(len(drawn), 1))
    axes = figure.add_subplot()
    colours = [WORSE if table.harm(effect) > 0 else BETTER for effect in drawn]
    places = range(len(drawn))
    bars = axes.barh(places, [effect.difference for effect in drawn], color=colours, height=0.66, zorder=2)
    for bar, effect in zip(bars, drawn, strict=True):
        bar.set_alpha(_PALE_BAR if _unclear(effect) else 1.0)
    _intervals(axes, drawn)
    axes.set_yticks(places, [common.short(effect.name) for effect in drawn], color=_INK)
    axes.set_ylim(max(len(drawn), 1) - 0.4, -0.6)
    _look(axes)
    _numbers(axes, drawn)
    axes.set_xlabel(f"difference in {table.metric} without it", color=_INK)
    figure.suptitle(table.title, x=0.01, ha="left", fontsize=12, color=_INK)
    shown = {WORSE: "worse without it", BETTER: "better without it"}
    handles = [Patch(color=colour, label=text) for colour, text in shown.items() if colour in colours]
    if handles:
        axes.legend(
            handles=handles, loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False, fontsize=9
        )
    figure.supxlabel("\n".join(_notes(table, hidden)), x=0.01, ha="left", fontsize=8, color=_PALE)
    return figure


def _unclear(effect: Effect) -> bool:
    return not math.isnan(effect.low) and not effect.clear


def _largest(known: list[Effect]) -> tuple[list[Effect], int]:
    """Those of the largest differences, in their order, and how many others there are."""
    largest = sorted(known, key=lambda effect: -abs(effect.difference))[:MOST]
    drawn = {id(effect) for effect in largest}
    return [effect for effect in known if id(effect) in drawn], len(known) - len(drawn)


def _intervals(axes: Any, drawn: list[Effect]) -> None:
    having = [(place, effect) for place, effect in enumerate(drawn) if not math.isnan(effect.low)]
    if having:
        middles = [effect.difference for _, effect in having]
        below = [effect.difference - effect.low for _, effect in having]
        above = [effect.high - effect.difference for _, effect in having]
        places = [place for place, _ in having]
        axes.errorbar(
            middles, places, xerr=[below, above], fmt="none", ecolor=_INK, elinewidth=1.2, capsize=3, zorder=3
        )


def _numbers(axes: Any, drawn: list[Effect]) -> None:
    """Each difference at the end of its bar, or of its interval."""
    axes.margins(x=0.19)
    for place, effect in enumerate(drawn):
        right = effect.difference >= 0
        ends = [effect.difference, *(end for end in (effect.low, effect.high) if not math.isnan(end))]
        axes.annotate(
            f"{effect.difference:+.3g}".replace("-", "−"),
            (max(ends) if right else min(ends), place),
            xytext=(5 if right else -5, 0),
            textcoords="offset points",
            ha="left" if right else "right",
            va="center",
            fontsize=8.5,
            color=_INK,
        )


def _look(axes: Any) -> None:
    axes.axvline(0, color=_INK, linewidth=1, zorder=4)
    axes.xaxis.grid(True, color="#DDDDDD", linewidth=0.8, zorder=0)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", colors=_INK, labelsize=9)


def _notes(table: AblationTable, hidden: int) -> list[str]:
    pale = "; pale: 0 is inside" if any(map(_unclear, table.components)) else ""
    found = [f"{table.note}{pale}"]
    if hidden:
        found.append(f"{hidden} components with smaller differences are not drawn")
    unknown = [common.short(effect.name) for effect in table.components if math.isnan(effect.difference)]
    if unknown:
        more = f", and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        found.append(f"without a value: {', '.join(unknown[:5])}{more}")
    return found
