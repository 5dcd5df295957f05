"""What makes one dataset of another: queries, features, split and order. Nothing is computed yet."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lethe.dataset.inputs import Features, added, columns_of, inputs_of, unnamed, with_columns, without
from lethe.dataset.query import one_statement
from lethe.dataset.recipe import Query, Recipe
from lethe.dataset.split import order_of, split_of
from lethe.errors import DataError

if TYPE_CHECKING:
    from typing_extensions import Self


class Transforms(ABC):
    """The methods of `Dataset` that give another. Queries are DataFusion's SQL: a column whose name has
    capitals is quoted, "Age"."""

    _recipe: Recipe

    @abstractmethod
    def _with(self, **changes: Any) -> Self:
        """The same rows by another recipe."""

    def sql(
        self,
        query: str,
        features: Features | None = None,
        label: str | None = None,
        *,
        weight: str | None = None,
        key: str | None = None,
    ) -> Self:
        """What a SELECT finds in the table `dataset`.

            data.sql("select height * width as area, city, price from dataset where price > 0")

        features: as in `from_spark`; None: all columns of the answer but label, weight and key.
        label, weight, key: None leaves those of before, which the answer must have.
        """
        text = one_statement("sql", query)
        recipe = self._recipe
        return self._with(
            queries=(*recipe.queries, Query(text, fresh=True)),
            inputs=None if features is None else inputs_of(features),
            left_out=(),
            label=recipe.label if label is None else label,
            weight=recipe.weight if weight is None else weight,
            key=recipe.key if key is None else key,
        )

    def filter(self, condition: str) -> Self:
        """The rows for which a condition in SQL holds: `data.filter("age >= 18 and city <> 'Oslo'")`."""
        query = Query(one_statement("filter", condition), filters=True)
        return self._with(queries=(*self._recipe.queries, query))

    def with_column(self, name: str, expression: str, input: str | None = None) -> Self:
        """With a column more, or another of that name.

            data.with_column("area", "height * width")

        It is a feature too, unless it is the label, the weight or the key.

        input: of which input, where they have names.
        """
        if not isinstance(name, str) or not name:
            raise DataError(f"with_column: a column's name must be a string, not {name!r}")
        recipe, inputs = self._recipe, self._recipe.inputs
        query = Query(one_statement("with_column", expression), adds=name)
        if inputs is not None and input is not None and input not in inputs:
            raise DataError(f"with_column: there is no input {input!r}; there are: {', '.join(inputs)}")
        serves = name in recipe.apart or (inputs is not None and input is None and name in columns_of(inputs))
        if inputs is not None and not serves:
            if input is None and not unnamed(inputs):
                raise DataError(
                    f"with_column: say of which input {name!r} is to be: with_column(…, "
                    f"input={next(iter(inputs))!r})"
                )
            inputs = added(inputs, input or next(iter(inputs)), name)
        left_out = tuple(other for other in recipe.left_out if other != name)
        return self._with(queries=(*recipe.queries, query), inputs=inputs, left_out=left_out)

    def select(self, *columns: str) -> Self:
        """With only these features. The other columns stay, for queries and splits."""
        names, inputs = chosen("select", columns), self._recipe.inputs
        if inputs is None or unnamed(inputs):
            one = inputs_of(list(names)) if inputs is None else with_columns(inputs, names)
            return self._with(inputs=one, normalize=self._normalized(names))
        for name in names:
            if name not in columns_of(inputs):
                raise DataError(
                    f"select: {name!r} is in no input; there are: {', '.join(columns_of(inputs))}"
                )
        gone = [name for name in columns_of(inputs) if name not in names]
        return self._with(inputs=without(inputs, gone), normalize=self._normalized(names))

    def drop(self, *columns: str) -> Self:
        """Without these features."""
        names, recipe = chosen("drop", columns), self._recipe
        left = tuple(name for name in recipe.normalize if name not in names)
        if recipe.inputs is None:
            return self._with(left_out=(*recipe.left_out, *names), normalize=left)
        for name in names:
            _exists("drop", name, columns_of(recipe.inputs))
        return self._with(inputs=without(recipe.inputs, names), normalize=left)

    def normalize(self, *columns: str) -> Self:
        """Features centred and scaled by their means and standard deviations over the training rows, which
        `preprocessing()` has. Of arrays each element by its own.

        columns: by default all that are numbers, not categories or booleans, of float32 inputs.
        """
        if not columns:
            return self._with(normalize=(), normalize_all=True)
        names = chosen("normalize", columns)
        return self._with(normalize=tuple(dict.fromkeys([*self._recipe.normalize, *names])))

    def split(
        self,
        validation: float | None = None,
        *,
        test: float | None = None,
        seed: int | None = None,
        by: str | None = None,
        stratify: str | None = None,
        group: str | None = None,
        time: str | None = None,
    ) -> Self:
        """Sets rows aside to validate and to test; the others train.

        validation, test: shares between 0 and 1, of which `round(share * rows)` rows.
        seed: of the draw, by default 0. The same rows, numbered alike, are split alike everywhere.
        by: a column that says "train", "validation" or "test".
        stratify: each part has its share of each of this column's values.
        group: rows of one value of this column stay together.
        time: the rows that come last by this column test, those before them validate.
        """
        return self._with(split=split_of(validation, test, seed, by, stratify, group, time))

    def shuffle(self, shuffled: bool = True, *, blocks: int | None = None, window: int = 32) -> Self:
        """The order of the training rows: by default one permutation of all, another in each epoch.

        shuffled: False leaves them in the order of their numbers.
        blocks: for data that memory does not hold: rows of a block. Blocks come in random order, and each
            `window` of them are shuffled together.
        """
        return self._with(order=order_of(shuffled, blocks, window, self._recipe.order.sampling))

    def balance(self) -> Self:
        """Training rows are drawn, each class of the label equally likely; an epoch has as many
        as there are."""
        if self._recipe.label is None:
            raise DataError("balance needs a label, whose classes are to be equally likely; name its column")
        return self._with(order=replace(self._recipe.order, sampling="balanced"))

    def sample_by_weight(self) -> Self:
        """Training rows are drawn in proportion to their weights, which then count in no loss."""
        if self._recipe.weight is None:
            raise DataError("sample_by_weight needs weights; name their column: from_spark(…, weight=…)")
        return self._with(order=replace(self._recipe.order, sampling="weighted"))

    def _normalized(self, features: Sequence[str]) -> tuple[str, ...]:
        return tuple(name for name in self._recipe.normalize if name in features)


def _exists(what: str, name: str, names: Sequence[str]) -> None:
    if name not in names:
        raise DataError(f"{what}: {name!r} is no feature; there are: {', '.join(list(names)[:20])}")


def chosen(what: str, columns: Sequence[str]) -> tuple[str, ...]:
    """Names that were given as arguments, or as one list.

    Raises DataError if there are none.
    """
    given: list[Any] = list(columns)
    if len(given) == 1 and isinstance(given[0], list | tuple):
        given = list(given[0])
    if not given or not all(isinstance(name, str) for name in given):
        raise DataError(f'{what} takes names of columns: {what}("a", "b")')
    return tuple(given)
