"""What is done about nulls and dates before anything else: one query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pyarrow as pa

from lethe.dataset.columns import is_number, is_string, is_time
from lethe.dataset.inputs import Inputs, columns_of
from lethe.dataset.query import literal, number_of, quoted
from lethe.dataset.schema import Columns
from lethe.errors import DataError


@dataclass(frozen=True)
class Clean:
    """fill: a value for nulls of all features that have its type, or values by column. drop: whether rows
    with nulls go, or in which columns. dates: whether dates and times become numbers. inputs, label, weight,
    key: as the dataset was made with them."""

    inputs: Inputs | None
    label: str | None
    weight: str | None
    key: str | None
    fill: Any = None
    drop: bool | tuple[str, ...] = False
    dates: bool = False

    def features(self, columns: Columns) -> list[str]:
        if self.inputs is not None:
            return columns_of(self.inputs)
        return [name for name in columns.names() if name not in (self.label, self.weight, self.key)]

    def needs(self, names: Sequence[str]) -> set[str]:
        """The columns that it speaks of."""
        found = set(self.fill) if isinstance(self.fill, Mapping) else set()
        if not isinstance(self.drop, bool):
            found |= set(self.drop)
        if self.drop is True or (self.fill is not None and not isinstance(self.fill, Mapping)):
            found |= set(names if self.inputs is None else columns_of(self.inputs))
        return found

    def values(self, columns: Columns) -> dict[str, Any]:
        """The value for nulls of each column that has one, after dates have become numbers.

        Raises DataError if there is no such column, or no column of the value's type.
        """
        if self.fill is None:
            return {}
        if isinstance(self.fill, Mapping):
            for name in self.fill:
                columns.check(name)
            return dict(self.fill)
        found = {
            name: self.fill
            for name in self.features(columns)
            if _takes(self._after(columns.kind(name), name), self.fill)
        }
        if not found:
            raise DataError(
                f"fill={self.fill!r}: no feature has that type; name columns: fill={{column: value}}"
            )
        return found

    def times(self, columns: Columns) -> list[str]:
        """The columns that become numbers."""
        if not self.dates:
            return []
        named = [*self.features(columns), *([] if self.label is None else [self.label])]
        return [name for name in named if is_time(columns.kind(name))]

    def _after(self, kind: pa.DataType, name: str) -> pa.DataType:
        if not self.dates or not is_time(kind):
            return kind
        return pa.int32() if pa.types.is_date(kind) else pa.int64()

    def query(self, columns: Columns) -> tuple[str, dict[str, pa.DataType]] | None:
        """The query, and the types of the columns that it changes; None if there is nothing to do."""
        if self.fill is None and self.drop is False and not self.dates:
            return None
        times, values = self.times(columns), self.values(columns)
        changed, kinds = [], {}
        for name in dict.fromkeys([*times, *values]):
            text = number_of(name, columns.kind(name)) if name in times else quoted(name)
            kinds[name] = self._after(columns.kind(name), name)
            if name in values:
                text = f"coalesce({text}, {literal(name, values[name], kinds[name])})"
            changed.append(f"{text} as {quoted(name)}")
        conditions = [f"{quoted(name)} is not null" for name in self._dropped(columns, values)]
        if not changed and not conditions:
            return None
        head = f"select * replace ({', '.join(changed)})" if changed else "select *"
        tail = f" where {' and '.join(conditions)}" if conditions else ""
        return f"{head} from dataset{tail}", kinds

    def _dropped(self, columns: Columns, values: Mapping[str, Any]) -> list[str]:
        if isinstance(self.drop, tuple):
            for name in self.drop:
                columns.check(name)
            return list(self.drop)
        if not self.drop:
            return []
        beside = [name for name in (self.label, self.weight) if name is not None]
        return [name for name in [*self.features(columns), *beside] if name not in values]


def _takes(kind: pa.DataType, value: Any) -> bool:
    if isinstance(value, str):
        return is_string(kind)
    return bool(pa.types.is_boolean(kind)) if isinstance(value, bool) else is_number(kind)


def clean_of(
    inputs: Inputs | None,
    label: str | None,
    weight: str | None,
    key: str | None,
    fill: Any,
    drop: bool | str | Sequence[str] | None,
    dates: str | None,
) -> Clean:
    """Raises DataError, which names the argument that is wrong."""
    if dates not in (None, "number"):
        raise DataError(f'dates must be None or "number" (days or seconds since 1970), not {dates!r}')
    if isinstance(fill, Mapping):
        if not all(isinstance(name, str) for name in fill):
            raise DataError(f"fill must be a value, or values by column, not {fill!r}")
        # As JSON has it.
        fill = {name: float(value) if isinstance(value, Decimal) else value for name, value in fill.items()}
    elif fill is not None and not isinstance(fill, str | int | float):
        raise DataError(f"fill must be a number, a string, a boolean or values by column, not {fill!r}")
    if drop is not None and not isinstance(drop, bool):
        drop = (drop,) if isinstance(drop, str) else tuple(drop)
        if not drop or not all(isinstance(name, str) for name in drop):
            raise DataError(f"drop must be True or names of columns, not {drop!r}")
    return Clean(inputs, label, weight, key, fill, drop or False, dates is not None)
