"""`lethe.Part`: the rows of one side of a split, as tables, tensors and batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from lethe.dataset import loader, read, tensors
from lethe.dataset.batches import Batching, batching_of, check_form
from lethe.dataset.inputs import unnamed
from lethe.dataset.tensors import one_array

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch.utils.data import DataLoader

    from lethe.dataset.dataset import Dataset


class Part:
    """The rows of one side of a split, as trials see them."""

    def __init__(self, dataset: Dataset, part: str) -> None:
        self._dataset, self._part = dataset, part

    def to_arrow(self) -> pa.Table:
        """In the order of the rows' numbers: a column for each input (the one of features is "features"), a
        fixed-size list of its row's elements; then `label` (int64 or float32) and `weight` (float32), where
        there are.

        Raises DataError if the executors do not have it any more.
        """
        placed = self._dataset.on()
        placed.stored()
        return placed.table({"type": "rows", "data": placed.spec(None), "part": self._part})

    def _columns(self, own_memory: bool) -> dict[str, np.ndarray[Any, Any]]:
        table, shapes = self.to_arrow(), self._dataset.on().shapes()
        found = {
            name: tensors.to_numpy(one_array(table.column(name)), shapes.get(name))
            for name in table.column_names
        }
        return {name: column.copy() for name, column in found.items()} if own_memory else found

    @property
    def _plain(self) -> bool:
        return unnamed(self._dataset.inputs)

    def to_numpy(self) -> Any:
        """Features, `[rows, inputs]` (or their shape), and labels `[rows]` (None without a label), as a pair;
        where inputs have names, a dictionary of all, with "label" and "weight"."""
        columns = self._columns(own_memory=False)
        return (columns["features"], columns.get("label")) if self._plain else columns

    def to_torch(self) -> Any:
        """As `to_numpy`, as tensors of their own memory."""
        import torch

        columns: dict[str, torch.Tensor] = {
            name: torch.from_numpy(column) for name, column in self._columns(own_memory=True).items()
        }
        return (columns["features"], columns.get("label")) if self._plain else columns

    def batches(
        self,
        batch_size: int,
        *,
        seed: int = 0,
        epoch: int = 1,
        shuffle: bool | None = None,
        drop_last: bool = False,
        rank: int = 0,
        world: int = 1,
        form: str = "torch",
    ) -> Iterator[Any]:
        """The batches of one epoch, streamed from an executor: dictionaries by input, with "label" and
        "weight" where there are. With the seed of a trial they are those that the native loop trains on.

        epoch: from 1; with the seed it gives the order. shuffle: by default training rows are (as
            `Dataset.shuffle` and `balance` say), others come in the order of their numbers; False leaves
            training rows in that order too, each once.
        drop_last: leaves out a last batch that is short.
        rank, world: this rank's slice of each batch of `batch_size` rows.
        form: "torch", "numpy" (read-only) or "arrow" (record batches). They share Arrow's memory where the
            types allow.

        Raises DataError if an argument is wrong, or no executor can give the rows.
        """
        batching = batching_of(self._part, batch_size, seed, epoch, shuffle, drop_last, rank, world)
        return self._read(batching, check_form(form))

    def _read(self, batching: Batching, form: str) -> Iterator[Any]:
        placed = self._dataset.on()
        found, shapes = placed.stored(), placed.shapes()
        ticket = batching.ticket(placed.spec(None), self._part)
        for batch in batching.cut(read.stream(placed.owner, placed.source, found, ticket)):
            yield tensors.as_form(batch, form, shapes)

    def to_dataloader(
        self,
        batch_size: int,
        *,
        seed: int = 0,
        epoch: int = 1,
        shuffle: bool | None = None,
        drop_last: bool = False,
        rank: int = 0,
        world: int = 1,
        **options: Any,
    ) -> DataLoader[Any]:
        """A torch DataLoader of the dictionaries that `batches` gives. Each `for` over it is the next epoch,
        from `epoch`, in another order.

        options: further ones of DataLoader, such as pin_memory. The executor makes the batches: there are no
            workers, samplers or collate functions.
        """
        batching = batching_of(self._part, batch_size, seed, epoch, shuffle, drop_last, rank, world)
        return loader.dataloader(self._read, batching, options)

    def to_tf(
        self,
        batch_size: int,
        *,
        seed: int = 0,
        epoch: int = 1,
        shuffle: bool | None = None,
        drop_last: bool = False,
        rank: int = 0,
        world: int = 1,
    ) -> Any:
        """A `tf.data.Dataset` of `(inputs, label, weight)` as far as there are, as Keras takes them; inputs
        are a dictionary where they have names. Each reading of it is the next epoch."""
        batching = batching_of(self._part, batch_size, seed, epoch, shuffle, drop_last, rank, world)
        sections = self._dataset.on().sections(sampled=batching.shuffle)
        return loader.tensorflow(self._read, batching, sections, self._plain)

    def __repr__(self) -> str:
        return f"{self._dataset!r}.{self._part}"
