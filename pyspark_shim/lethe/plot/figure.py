"""What all figures have in common: they are made without pyplot, whose state belongs to the user."""

from __future__ import annotations

import functools
import io
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from lethe.errors import InstallError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Of Okabe and Ito's palette, which colour-blind readers can tell apart.
BLUE, SKY, GREEN, ORANGE, VERMILLION = "#0072B2", "#56B4E9", "#009E73", "#E69F00", "#D55E00"
INK, PALE, LINES = "#333333", "#777777", "#DDDDDD"
#: Fits a page, and a notebook.
WIDTH_INCHES = 7.5
#: Characters of a name.
_NAME = 36
#: Of a legend, in one row.
_ENTRIES = 5


def figure_type(what: str) -> type[Figure]:
    """Matplotlib's `Figure`. what: who asks for it.

    Raises InstallError without Matplotlib.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise InstallError(f"{what} needs Matplotlib; run: pip install 'lethe[charts]'") from None
    return Figure


def make(what: str, height: float, width: float = WIDTH_INCHES) -> Figure:
    """An empty figure of this size in inches, which a notebook shows.

    Raises InstallError without Matplotlib.
    """
    figure = figure_type(what)(figsize=(width, height), layout="constrained")
    # IPython asks for it where pyplot, which tells it how figures are shown, is not in use.
    vars(figure)["_repr_png_"] = functools.partial(_png, figure)
    return figure


def _png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def look(axes: Axes, grid: Literal["x", "y"] = "y") -> None:
    axes.grid(True, axis=grid, color=LINES, linewidth=0.8, zorder=0)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(PALE)
    axes.tick_params(colors=INK, labelsize=9)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)


def whole(axes: Axes, first: int, last: int) -> None:
    """x counts from the first to the last: ticks are whole numbers."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))
    room = 0.02 * (last - first) or 0.5
    axes.set_xlim(first - room, last + room)


def title(figure: Figure, text: str) -> None:
    figure.suptitle(text, x=0.01, ha="left", fontsize=12, color=INK)


def notes(figure: Figure, lines: Iterable[str]) -> None:
    """Small, below everything."""
    text = "\n".join(line for line in lines if line)
    if text:
        figure.supxlabel(text, x=0.01, ha="left", fontsize=8, color=PALE)


def legend(axes: Axes, handles: Sequence[Any]) -> None:
    """Above the axes, where no data is; of more than five entries in two rows."""
    if handles:
        axes.legend(
            handles=handles,
            loc="lower left",
            bbox_to_anchor=(0, 1),
            borderaxespad=0.2,
            ncols=len(handles) if len(handles) <= _ENTRIES else -(-len(handles) // 2),
            frameon=False,
            fontsize=9,
            labelcolor=INK,
            handletextpad=0.5,
            columnspacing=1.4,
        )


def short(name: str, most: int = _NAME) -> str:
    """A long one without its middle."""
    return name if len(name) <= most else f"{name[: most // 2]}…{name[-most // 2 + 1 :]}"


def plural(count: int, one: str) -> str:
    return f"{count:,} {one}{'' if count == 1 else 's'}"


def signed(text: str) -> str:
    """With the sign for minus, as the axes have it."""
    return text.replace("-", "−")


def rounded(value: float) -> str:
    """With two decimals, and no minus before 0."""
    return signed(f"{round(value, 2) + 0.0:.2f}")


def towards(metric: str, direction: str | None) -> str:
    """The metric, and which way is better."""
    better = {"max": " (higher is better)", "min": " (lower is better)"}
    return metric + better.get(direction or "", "")


def limits(values: Iterable[float], direction: str | None) -> tuple[float, float]:
    """What an axis shows of a metric: all finite values, unless a few are so much worse than most that these
    could not be told apart; then those are beyond it. `values` has at least one finite value.

    direction: "max" or "min"; None: neither end is the good one, and both may be cut.
    """
    found = sorted(value for value in values if math.isfinite(value))
    low, high = found[0], found[-1]

    def at(share: float) -> float:
        return found[round(share * (len(found) - 1))]

    most = at(0.9) - at(0.1)
    if most > 0:
        if direction != "max" and high - at(0.9) > 10 * most:
            high = at(0.9) + most / 2
        if direction != "min" and at(0.1) - low > 10 * most:
            low = at(0.1) - most / 2
    return low, high


def wide(low: float, high: float, direction: str | None) -> bool:
    """Whether an axis of what is to become small is better logarithmic."""
    return direction == "min" and low > 0 and high / low >= 100


def padded(low: float, high: float, log: bool = False) -> tuple[float, float]:
    """With some room at both ends."""
    if log:
        room = (high / low) ** 0.05
        return low / room, high * room
    room = 0.05 * (high - low) or 0.05 * abs(high) or 0.05
    return low - room, high + room
