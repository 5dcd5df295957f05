"""A dataset as one application has it: put, described, read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from lethe import flight
from lethe.application.application import Application, Stored
from lethe.dataset import read
from lethe.dataset.columns import can_be_put, element, is_string, stored_type
from lethe.dataset.files import FilesOrigin, FilesSource
from lethe.dataset.inputs import columns_of
from lethe.dataset.preprocessing import Preprocessing, learned
from lethe.dataset.put import stored
from lethe.dataset.query import mentions
from lethe.dataset.recipe import Compiled, Recipe, compiled
from lethe.dataset.source import Origin, Source
from lethe.errors import DataError


class Placed:
    """owner: whose driver is asked for what only it knows."""

    def __init__(self, origin: Origin, recipe: Recipe, owner: Application) -> None:
        self._origin, self._recipe, self.owner = origin, recipe, owner

    @property
    def source(self) -> Source:
        """What executors have, or are given, of its rows."""
        return self._origin.source(self._recipe.needed(self._origin.kinds or ()))

    def compiled(self) -> Compiled:
        return compiled(self._recipe, self._origin.kinds, self._ask)

    def spec(self, loss: str | None) -> dict[str, Any]:
        """The message `DataSpec`."""
        return self.compiled().message(self.source.name, loss)

    def stored(self) -> Stored:
        """Puts it if need be, and checks that the split leaves rows on all sides."""
        found = self._there()
        # Where queries leave rows out, the executors find out how many are left.
        split, whole = self._recipe.split, not self._recipe.queries and not self._recipe.clean.drop
        if split is not None and whole and not isinstance(self.source, FilesSource):
            split.check(found.rows)
        return found

    def _there(self) -> Stored:
        source = self.source
        if isinstance(source, FilesSource):
            return source.created(self.owner)
        return stored(self.owner, source)

    def _ask(self, queries: list[str]) -> Mapping[str, pa.DataType]:
        """The columns that the queries find."""
        if not queries and isinstance(self._origin, FilesOrigin):
            return self._origin.ask(self.owner)
        name = self._there().name
        asked = (name, *queries)
        known = self._origin.answers.get(asked)
        if known is None:
            try:
                schema = self.owner.peer.schema({"type": "query", "dataset": name, "queries": queries})
            except flight.FAILED as error:
                raise DataError(flight.reason(error)) from None
            known = self._origin.answers[asked] = {field.name: field.type for field in schema}
        return known

    def describe(self, loss: str | None) -> dict[str, Any]:
        """The message `Described`: what its tensors will look like.

        Raises DataError, which says what is wrong with its queries or columns.
        """
        self.stored()
        return self.described(self.spec(loss))

    def described(self, data: dict[str, Any]) -> dict[str, Any]:
        """The same of a message `DataSpec` of this dataset, which has been put."""
        try:
            found: dict[str, Any] = self.owner.peer.call("dataset.describe", {"data": data})
        except flight.FAILED as error:
            raise DataError(flight.reason(error)) from None
        return found

    def sections(self, sampled: bool) -> list[dict[str, Any]]:
        """Name, dtype and shape of one row of each input, then of label and weight. sampled: of training
        batches, which have no weights by which rows were drawn."""
        inputs, data = self.describe(None)["inputs"], self.spec(None)
        found = [{name: one[name] for name in ("name", "dtype", "shape")} for one in inputs]
        if "label" in data:
            dtype = "int64" if data["label"]["kind"] == "class" else "float32"
            found.append({"name": "label", "dtype": dtype, "shape": []})
        if "weight" in data and not (sampled and self._recipe.order.sampling == "weighted"):
            found.append({"name": "weight", "dtype": "float32", "shape": []})
        return found

    def shapes(self) -> dict[str, tuple[int, ...] | None]:
        """Of one row of each input; None for what has one dimension."""
        known = self.compiled()
        found = {name: one.shape for name, one in known.inputs.items()}
        nested = [
            name
            for name, one in known.inputs.items()
            if one.shape is None and len(one.columns) == 1 and _may_be_nested(known, one.columns[0])
        ]
        if nested:
            described = {one["name"]: tuple(one["shape"]) for one in self.describe(None)["inputs"]}
            found |= {name: described[name] for name in nested}
        return found

    def table(self, ticket: dict[str, Any]) -> pa.Table:
        """All of a ticket.

        Raises DataError if no executor can give it.
        """
        return read.table(self.owner, self.source, self.stored(), ticket)

    def stream(self, ticket: dict[str, Any]) -> Iterator[pa.RecordBatch]:
        """Its record batches, as they come.

        Raises DataError if no executor can give them.
        """
        return read.stream(self.owner, self.source, self.stored(), ticket)

    def prepares(self) -> bool:
        """Whether raw rows need anything before a model gets them."""
        known = self.compiled()
        clean = known.clean.times(known.base) or known.clean.values(known.base)
        if clean or any(known.normalize.values()) or any(query.prepares for query in self._recipe.queries):
            return True
        columns = [name for one in known.inputs.values() for name in one.columns]
        label = [] if self._recipe.label is None else [self._recipe.label]
        return any(is_string(known.columns.kind(name)) for name in [*columns, *label])

    def learned(self, loss: str | None, data: dict[str, Any] | None = None) -> Preprocessing:
        """data: the message `DataSpec` of a trial, which may leave out columns; None: of all.

        Raises DataError if no executor can tell.
        """
        self.stored()
        known, whole = self.compiled(), self.spec(loss)
        left_out = [] if data is None else data.get("without", [])
        found = {}
        if self.prepares():
            found = learned(self.table({"type": "preprocessing", "data": whole}))
        described = {one["name"]: one for one in self.described(whole if data is None else data)["inputs"]}
        inputs = [
            {
                "name": one["name"],
                "columns": [name for name in one["columns"] if name not in left_out],
                "dtype": described[one["name"]]["dtype"],
                "shape": described[one["name"]]["shape"],
                "normalize": [name for name in one.get("normalize", []) if name not in left_out],
            }
            for one in whole["inputs"]
            if one["name"] in described
        ]
        return Preprocessing(
            inputs,
            self._recipe.label,
            fill=known.clean.values(known.base),
            dates=known.clean.times(known.base),
            queries=known.preparing,
            **{
                what: {name: values for name, values in columns.items() if name not in left_out}
                for what, columns in found.items()
            },
        )

    def raw(self, inputs: Sequence[Mapping[str, Any]]) -> tuple[pa.Schema, tuple[str, ...]]:
        """The columns of the table that raw rows need to become these inputs, with their types; and those
        of them that rows need not have: label, weight and key that only queries name."""
        known, recipe = self.compiled(), self._recipe
        names = known.base.names()
        wanted = {name for one in inputs for name in one["columns"]}
        for query in recipe.queries:
            if query.prepares:
                found = mentions(query.text, names)
                wanted |= set(names) if found is None else found
        kinds = {name: stored_type(known.base.kind(name)) for name in names if name in wanted}
        columns = [pa.field(name, kind) for name, kind in kinds.items() if can_be_put(kind)]
        features = columns_of(known.inputs)
        absent = [
            field.name for field in columns if field.name in recipe.apart and field.name not in features
        ]
        return pa.schema(columns), tuple(absent)

    def label_type(self) -> pa.DataType | None:
        """As queries leave it; None without a label."""
        label = self._recipe.label
        return None if label is None else self.compiled().columns.kind(label)


def _may_be_nested(known: Compiled, column: str) -> bool:
    kind = known.columns.known(column)
    return kind is None or element(kind)[1] > 1
