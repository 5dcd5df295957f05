"""What each component is worth: the differences that the trials came to."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from lethe.ablation.component import BASE
from lethe.ablation.student import interval
from lethe.result import markup, tables

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_COLUMNS = ("component", "kind", "value", "difference", "low", "high", "pairs", "trials", "failed", "error")


@dataclass(frozen=True)
class Record:
    """One trial.

    component: its name; None: the base. replicate: which repetition, from 0. value: of the metric; None, or
    NaN, if there is none. state: "finished", "stopped", "failed" or "cancelled". error: why it failed. kind:
    the component's.
    """

    component: str | None
    replicate: int
    value: float | None
    state: str
    error: str | None = None
    kind: str | None = None


@dataclass(frozen=True)
class Effect:
    """What happens without one component; of the base, whose name is "base", what there is.

    value: mean of the metric over the trials that have one.
    difference: mean of the component's value less the base's of the same repetition, over the repetitions
        where both have one. low, high: its confidence interval by Student's t; of the base that of `value`.
    pairs: of how many differences (of the base: values) these are. trials: that there were; failed: of these,
        those that ended without a value.
    error: why the first of them failed.

    What is not known is NaN: difference without pairs, low and high with fewer than two, difference of the
    base.
    """

    name: str
    kind: str
    value: float
    difference: float
    low: float
    high: float
    pairs: int
    trials: int
    failed: int
    error: str | None

    @property
    def clear(self) -> bool:
        """Whether there is an interval, and 0 is outside of it."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class AblationTable:
    """The components of a study, the most important first: the one without which the metric is worst. Those
    without a difference come last, in the study's order.

    Each interval has its `confidence` by itself: of twenty components without any effect one is outside of
    its 95 % interval.
    """

    metric: str
    direction: str
    confidence: float
    base: Effect
    components: tuple[Effect, ...]

    @classmethod
    def of(
        cls, records: Iterable[Record], metric: str, direction: str, confidence: float = 0.95
    ) -> AblationTable:
        """records: of all trials, in the study's order. direction: "max" or "min"."""
        grouped: dict[str | None, list[Record]] = {None: []}
        for record in records:
            grouped.setdefault(record.component, []).append(record)
        base = _values(grouped[None])
        found = [_effect(name, of, base, confidence) for name, of in grouped.items() if name is not None]
        # Sorting is stable.
        found.sort(key=lambda effect: (math.isnan(effect.difference), -_harm(effect, direction)))
        return cls(metric, direction, confidence, _of_base(grouped[None], confidence), tuple(found))

    def harm(self, effect: Effect) -> float:
        """By how much the metric is worse without the component, in the metric's unit: below 0 where it is
        better without. NaN if that is not known."""
        return _harm(effect, self.direction)

    @cached_property
    def rows(self) -> tuple[Effect, ...]:
        """The base, then the components."""
        return (self.base, *self.components)

    def to_pandas(self) -> pd.DataFrame:
        """One row for the base and each component: component, kind, value, difference, low, high, pairs,
        trials, failed, error; see `Effect`."""
        import pandas as pd

        rows = [(row.name, *(getattr(row, name) for name in _COLUMNS[1:])) for row in self.rows]
        table: pd.DataFrame = pd.DataFrame(rows, columns=list(_COLUMNS))
        return table

    def chart(self) -> Figure:
        """The differences as bars, with their intervals; see `lethe.ablation.chart`.

        Raises InstallError without matplotlib.
        """
        from lethe.ablation.chart import chart

        return chart(self)

    @property
    def title(self) -> str:
        """The metric, the base's value, and what the differences are of."""
        towards = "higher is better" if self.direction == "max" else "lower is better"
        value = "has no value" if math.isnan(self.base.value) else _number(self.base.value)
        return f"{self.metric} ({towards}): base {value}{_within(self.base)}"

    @property
    def note(self) -> str:
        """On the intervals, or why there are none."""
        most = max((row.pairs for row in self.components), default=0)
        if most >= 2:
            return (
                f"intervals: {self.confidence:.4g} confidence, of the differences within each of {most} seeds"
            )
        if max(row.trials for row in self.rows) < 2:
            return "one seed: no confidence intervals; Ablation(…, seeds=5) gives them"
        return "no confidence intervals: fewer than two seeds have a value with and without a component"

    def _cells(self) -> list[list[str]]:
        """The heading, then a row for each effect; what no row has is left out."""
        heads = ["without", self.metric, "difference", "interval", "trials", "failed", "error"]
        rows = [
            [
                row.name,
                _number(row.value),
                _number(row.difference, "+"),
                "" if math.isnan(row.low) or row is self.base else _interval(row),
                str(row.trials),
                str(row.failed) if row.failed else "",
                _short(row.error),
            ]
            for row in self.rows
        ]
        rows[0][0] = "(base)"
        kept = [
            column
            for column in range(len(heads))
            if heads[column] not in ("interval", "failed", "error") or any(row[column] for row in rows)
        ]
        return [[row[column] for column in kept] for row in [heads, *rows]]

    def __repr__(self) -> str:
        cells = self._cells()
        return "\n".join([self.title, tables.text(cells, _left(cells)), self.note])

    def _repr_html_(self) -> str:
        cells = self._cells()
        return f"{markup.table(cells, _left(cells), self.title)}\n<p>{markup.escape(self.note)}</p>"


def _value(record: Record) -> float | None:
    """None, too, where it is no number: there is nothing to compare."""
    return record.value if record.value is not None and math.isfinite(record.value) else None


def _values(records: Iterable[Record]) -> dict[int, float]:
    """By the repetition."""
    found = {}
    for record in records:
        value = _value(record)
        if value is not None:
            found[record.replicate] = value
    return found


def _failed(records: Iterable[Record]) -> list[Record]:
    return [
        record
        for record in records
        if record.state in ("failed", "finished", "stopped") and _value(record) is None
    ]


def _effect(name: str, records: list[Record], base: dict[int, float], confidence: float) -> Effect:
    values = _values(records)
    differences = [value - base[replicate] for replicate, value in values.items() if replicate in base]
    low, high = interval(differences, confidence)
    failed = _failed(records)
    return Effect(
        name,
        next((record.kind for record in records if record.kind is not None), "own"),
        _mean(values.values()),
        _mean(differences),
        low,
        high,
        len(differences),
        len(records),
        len(failed),
        next((record.error for record in failed if record.error), None),
    )


def _of_base(records: list[Record], confidence: float) -> Effect:
    values = list(_values(records).values())
    low, high = interval(values, confidence)
    failed = _failed(records)
    error = next((record.error for record in failed if record.error), None)
    count = len(values)
    return Effect(BASE, BASE, _mean(values), math.nan, low, high, count, len(records), len(failed), error)


def _harm(effect: Effect, direction: str) -> float:
    return effect.difference if direction == "min" else -effect.difference


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return math.fsum(found) / len(found) if found else math.nan


def _number(value: float, sign: str = "") -> str:
    return "" if math.isnan(value) else f"{value:{sign}.4g}"


def _interval(effect: Effect) -> str:
    return f"[{effect.low:+.3g}, {effect.high:+.3g}]"


def _within(base: Effect) -> str:
    return "" if math.isnan(base.low) else f" ± {(base.high - base.low) / 2:.2g}"


def _short(error: str | None) -> str:
    """Its first line."""
    first = (error or "").strip().partition("\n")[0]
    return first if len(first) <= 60 else f"{first[:59]}…"


def _left(cells: list[list[str]]) -> list[int]:
    """The columns that are no numbers."""
    return [column for column, head in enumerate(cells[0]) if head in ("without", "error")]
