"""The columns at one stage of a dataset's queries, asked for only where nothing else will do."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pyarrow as pa

from lethe.dataset.columns import check_exists

#: Types by name; None for a type that is not known yet.
Kinds = Mapping[str, pa.DataType | None]
#: Asks the driver for the columns that a chain of queries finds.
Ask = Callable[[list[str]], Mapping[str, pa.DataType]]


class Unknown(Exception):
    """What was asked only the driver knows, and it is not the time to ask it."""


class Columns:
    """kinds: as far as they are known; None if not even the names are. ask: None where the driver is not to
    be asked, as in checks of arguments."""

    def __init__(self, kinds: Kinds | None, queries: list[str], ask: Ask | None) -> None:
        self._kinds, self.queries, self._ask = kinds, queries, ask

    def _asked(self) -> Kinds:
        if self._ask is None:
            raise Unknown
        self._kinds = self._ask(self.queries)
        return self._kinds

    @property
    def asks(self) -> bool:
        """Whether the driver may be asked: it is for use, not to check arguments."""
        return self._ask is not None

    def names(self) -> list[str]:
        """Raises Unknown."""
        return list(self._asked() if self._kinds is None else self._kinds)

    def known(self, name: str) -> pa.DataType | None:
        """Its type, if that needs no question."""
        return None if self._kinds is None else self._kinds.get(name)

    def kind(self, name: str) -> pa.DataType:
        """Its type.

        Raises Unknown, or DataError if there is no such column.
        """
        found = self.known(name)
        if found is None:
            if self._kinds is not None:
                check_exists(name, list(self._kinds))
            kinds = self._asked()
            check_exists(name, list(kinds))
            found = kinds[name]
        return found

    def check(self, name: str) -> None:
        """Raises DataError if it is known that there is no such column."""
        if self._kinds is not None:
            check_exists(name, list(self._kinds))

    def then(self, query: str, kinds: Kinds | None) -> Columns:
        """Those after one more query."""
        return Columns(kinds, [*self.queries, query], self._ask)

    def plus(self, name: str) -> Kinds | None:
        """With one more, or another of that name, whose type is not known."""
        return None if self._kinds is None else {**self._kinds, name: None}

    def replaced(self, kinds: Kinds) -> Kinds | None:
        return None if self._kinds is None else {**self._kinds, **kinds}

    @property
    def kinds(self) -> Kinds | None:
        return self._kinds
