"""A dataset's recipe, and what comes of it: queries, inputs, split and order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from lethe.dataset.clean import Clean
from lethe.dataset.columns import check_feature, is_normal, is_number, label_kind
from lethe.dataset.inputs import FEATURES, Input, Inputs, columns_of
from lethe.dataset.query import mentions, quoted, starts_like_a_query
from lethe.dataset.schema import Ask, Columns, Kinds
from lethe.dataset.split import Order, Split
from lethe.errors import DataError


@dataclass(frozen=True)
class Query:
    """text: what the user wrote: a condition (filters), an expression (adds: the column that is its value) or
    a whole query (fresh: its answer has other columns, which only the driver knows)."""

    text: str
    adds: str | None = None
    filters: bool = False
    fresh: bool = False

    @property
    def prepares(self) -> bool:
        """Whether raw rows need it too: a filter only chose what is trained on."""
        return not self.filters

    def then(self, columns: Columns) -> Columns:
        """The columns after it."""
        if self.fresh:
            return columns.then(self.text, None)
        if self.adds is None:
            return columns.then(f"select * from dataset where {self.text}", columns.kinds)
        value = f"{self.text} as {quoted(self.adds)}"
        text = f"select * replace ({value})" if self.adds in columns.names() else f"select *, {value}"
        return columns.then(f"{text} from dataset", columns.plus(self.adds))


@dataclass(frozen=True)
class Recipe:
    """What a dataset is, apart from its rows. inputs: None takes all columns that serve nothing else, but
    those that were `left_out`. normalize: columns, and whether all."""

    inputs: Inputs | None
    clean: Clean
    label: str | None = None
    weight: str | None = None
    key: str | None = None
    left_out: tuple[str, ...] = ()
    queries: tuple[Query, ...] = ()
    normalize: tuple[str, ...] = ()
    normalize_all: bool = False
    split: Split | None = None
    order: Order = field(default_factory=Order)

    @property
    def apart(self) -> list[str]:
        """Columns that are no features where all others are."""
        by = self.split.column if self.split is not None and self.split.kind == "column" else None
        return [name for name in (self.label, self.weight, self.key, by) if name is not None]

    def needed(self, names: Iterable[str]) -> set[str]:
        """Which of the table's columns must be put; rather one too many."""
        listed = list(names)
        wanted = {*self.apart, *self.clean.needs(listed)}
        if self.split is not None and self.split.column is not None:
            wanted.add(self.split.column)
        fresh = False
        for query in self.queries:
            found = mentions(query.text, listed)
            if found is None or (query.fresh and not starts_like_a_query(query.text)):
                return set(listed)
            wanted |= found
            fresh = fresh or query.fresh
        if self.inputs is not None:
            wanted |= set(columns_of(self.inputs))
        elif not fresh:
            wanted |= set(listed) - set(self.left_out)
        return wanted & set(listed)


@dataclass(frozen=True)
class Compiled:
    """A recipe in terms of a table. base, columns: those before and after all queries. preparing: the queries
    that raw rows need too. normalize: columns, by input."""

    recipe: Recipe
    base: Columns
    columns: Columns
    preparing: list[str]
    inputs: Inputs
    normalize: dict[str, list[str]]

    @property
    def clean(self) -> Clean:
        return self.recipe.clean

    def message(self, dataset: str, loss: str | None) -> dict[str, Any]:
        """The message `DataSpec`."""
        recipe = self.recipe
        found: dict[str, Any] = {"dataset": dataset}
        if self.columns.queries:
            found["queries"] = list(self.columns.queries)
        found["inputs"] = [one.message(name, self.normalize[name]) for name, one in self.inputs.items()]
        if recipe.label is not None:
            found["label"] = {"column": recipe.label, "kind": self._label_kind(recipe.label, loss)}
        if recipe.weight is not None:
            found["weight"] = recipe.weight
        if recipe.key is not None:
            found["key"] = recipe.key
        if recipe.split is not None:
            found["split"] = recipe.split.message()
        if recipe.order != Order():
            found["order"] = recipe.order.message()
        return found

    def _label_kind(self, label: str, loss: str | None) -> str:
        return label_kind(self.columns.kind(label) if loss is None else None, loss)


def compiled(recipe: Recipe, kinds: Kinds | None, ask: Ask | None) -> Compiled:
    """Raises DataError, which names what cannot be; Unknown if that needs the driver and it is not asked."""
    base = columns = Columns(kinds, [], ask)
    cleaning = recipe.clean.query(columns)
    if cleaning is not None:
        columns = columns.then(cleaning[0], columns.replaced(cleaning[1]))
    preparing = []
    for query in recipe.queries:
        columns = query.then(columns)
        if query.prepares:
            preparing.append(columns.queries[-1])
    inputs = _inputs(recipe, columns)
    _check(recipe, inputs, columns)
    return Compiled(recipe, base, columns, preparing, inputs, _normalized(recipe, inputs, columns))


def _inputs(recipe: Recipe, columns: Columns) -> Inputs:
    if recipe.inputs is not None:
        return recipe.inputs
    beside = [*recipe.apart, *recipe.left_out]
    found = [name for name in columns.names() if name not in beside]
    if not found:
        raise DataError("no column is left for features; name them: features=[…]")
    return {FEATURES: Input(found, "float32")}


def _check(recipe: Recipe, inputs: Inputs, columns: Columns) -> None:
    features = columns_of(inputs)
    for name in [*features, *recipe.apart]:
        columns.check(name)
    if recipe.split is not None and recipe.split.column is not None:
        columns.check(recipe.split.column)
    if recipe.label in features:
        raise DataError(f"the column {recipe.label!r} is named twice in features and label; name it once")
    # Where nobody has named them, there may be a query to come that leaves some out.
    for name in features if recipe.inputs is not None or columns.asks else ():
        kind = columns.known(name)
        if kind is not None:
            check_feature(name, kind)
    weight = None if recipe.weight is None else columns.known(recipe.weight)
    if weight is not None and not is_number(weight):
        raise DataError(f"the weight {recipe.weight!r} has type {weight}, which is not a number; cast it")


def _normalized(recipe: Recipe, inputs: Inputs, columns: Columns) -> dict[str, list[str]]:
    """By input, in the order of its columns."""
    features = columns_of(inputs)
    for name in recipe.normalize:
        if name not in features:
            raise DataError(f"normalize: {name!r} is no feature; there are: {', '.join(features[:20])}")
        kind = columns.known(name)
        if kind is not None and not is_normal(kind):
            raise DataError(
                f"normalize: the column {name!r} has type {kind}, which has no mean; leave it out"
            )
    found: dict[str, list[str]] = {}
    for name, one in inputs.items():
        whole = one.dtype not in (None, "float32")
        found[name] = [
            column
            for column in one.columns
            if column in recipe.normalize
            or (recipe.normalize_all and not whole and is_normal(columns.kind(column)))
        ]
        if whole and found[name]:
            raise DataError(
                f"normalize: the input {name!r} is {one.dtype}, and normalized numbers are float32; leave "
                "out its dtype"
            )
    return found
