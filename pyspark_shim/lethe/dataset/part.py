"""`lethe.Part`: the rows of one side of a split, as tables, tensors and batches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa

from lethe.dataset import loader, tensors
from lethe.dataset.batches import Batching, batching_of, check_form
from lethe.dataset.inputs import unnamed
from lethe.dataset.tensors import one_array
from lethe.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch.utils.data import DataLoader


class Counting(Protocol):
    """What a rank's slices count in their batches; see `lethe.worker.gang.shares.Shares`."""

    def follow(
        self, slices: Iterator[pa.RecordBatch], rows: Iterator[int], first_row: Callable[[], pa.RecordBatch]
    ) -> Iterator[tuple[pa.RecordBatch, float]]: ...
    def drawn(self, batch: Any, share: float) -> Any: ...


@dataclass(frozen=True)
class Reading:
    """How batches are read unless it is said otherwise. Ranks share the training rows alone. counting: of a
    trial of several workers. own: training rows of each, where each has its own."""

    seed: int = 0
    rank: int = 0
    world: int = 1
    counting: Counting | None = None
    own: tuple[int, ...] | None = None


class Readable(Protocol):
    """A dataset whose parts can be read: the user's, or a trial's."""

    @property
    def inputs(self) -> Mapping[str, Any] | None: ...
    @property
    def reading(self) -> Reading: ...
    def on(self) -> Any: ...


class Parts(ABC):
    """A dataset that may be split: its parts, for whoever knows which there are."""

    @property
    @abstractmethod
    def has_validation(self) -> bool:
        """Whether rows validate."""

    @property
    @abstractmethod
    def has_test(self) -> bool:
        """Whether rows are kept for the end."""

    @property
    def train(self) -> Part:
        """The rows that train: all of them without a split."""
        return Part(self, "train")  # type: ignore[arg-type]

    @property
    def validation(self) -> Part:
        """The rows that validate."""
        if not self.has_validation:
            raise DataError(
                "the dataset has no validation set; split it: dataset.split(validation=0.2, seed=1)"
            )
        return Part(self, "validation")  # type: ignore[arg-type]

    @property
    def test(self) -> Part:
        """The rows that are kept for the end."""
        if not self.has_test:
            raise DataError(
                "the dataset has no test set; split it: dataset.split(validation=0.2, test=0.1, seed=1)"
            )
        return Part(self, "test")  # type: ignore[arg-type]


class Part:
    """The rows of one side of a split, as trials see them."""

    def __init__(self, dataset: Readable, part: str) -> None:
        self._dataset, self._part = dataset, part

    def to_arrow(self) -> pa.Table:
        """In the order of the rows' numbers: a column for each input (the one of features is "features"), a
        fixed-size list of its row's elements; then `label` (int64 or float32) and `weight` (float32), where
        there are.

        Raises DataError if the executors do not have it any more.
        """
        placed = self._dataset.on()
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
        seed: int | None = None,
        epoch: int = 1,
        shuffle: bool | None = None,
        drop_last: bool = False,
        rank: int | None = None,
        world: int | None = None,
        form: str = "torch",
    ) -> Iterator[Any]:
        """The batches of one epoch, streamed from an executor: dictionaries by input, with "label" and
        "weight" where there are. With the seed of a trial they are those that the native loop trains on.

        seed: by default 0; within a trial that of the trial, whose batches are then those of the native loop.
        epoch: from 1; with the seed it gives the order. shuffle: by default training rows are (as
            `Dataset.shuffle` and `balance` say), others come in the order of their numbers; False leaves
            training rows in that order too, each once.
        drop_last: leaves out a last batch that is short.
        rank, world: this rank's slice of each batch of `batch_size` rows; by default all of it. Within a
            trial of several workers that of this one, of batches that train; a worker whose slice has no row
            gets one that counts nothing, so that each takes the same steps.
        form: "torch", "numpy" (read-only) or "arrow" (record batches). They share Arrow's memory where the
            types allow.

        Raises DataError if an argument is wrong, or no executor can give the rows.
        """
        batching = self._batching(batch_size, seed, epoch, shuffle, drop_last, rank, world)
        return self._read(batching, check_form(form))

    def _batching(
        self,
        batch_size: int,
        seed: int | None,
        epoch: int,
        shuffle: bool | None,
        drop_last: bool,
        rank: int | None,
        world: int | None,
    ) -> Batching:
        usual = self._dataset.reading
        own = None
        if rank is None and world is None and self._part == "train":
            rank, world, own = usual.rank, usual.world, usual.own
        return batching_of(
            self._part,
            batch_size,
            usual.seed if seed is None else seed,
            epoch,
            shuffle,
            drop_last,
            0 if rank is None else rank,
            1 if world is None else world,
            own,
        )

    def _read(self, batching: Batching, form: str) -> Iterator[Any]:
        placed = self._dataset.on()
        shapes = placed.shapes()
        ticket = batching.ticket(placed.spec(None), self._part)
        batches = batching.cut(placed.stream(ticket))
        counting = self._dataset.reading.counting
        if counting is None or batching.world == 1 or self._part != "train":
            # Of rows that do not train nobody's gradients are weighted.
            for batch in batches:
                yield tensors.as_form(batch, form, shapes)
            return
        rows = batching.rows(placed.training_rows())
        for batch, share in counting.follow(batches, rows, self._first_row):
            yield counting.drawn(tensors.as_form(batch, form, shapes), share)

    def _first_row(self) -> pa.RecordBatch:
        placed = self._dataset.on()
        return next(placed.stream({"type": "rows", "data": placed.spec(None), "part": self._part}))

    def to_dataloader(
        self,
        batch_size: int,
        *,
        seed: int | None = None,
        epoch: int = 1,
        shuffle: bool | None = None,
        drop_last: bool = False,
        rank: int | None = None,
        world: int | None = None,
        **options: Any,
    ) -> DataLoader[Any]:
        """A torch DataLoader of the dictionaries that `batches` gives. Each `for` over it is the next epoch,
        from `epoch`, in another order.

        options: further ones of DataLoader, such as pin_memory. The executor makes the batches: there are no
            workers, samplers or collate functions.
        """
        batching = self._batching(batch_size, seed, epoch, shuffle, drop_last, rank, world)
        return loader.dataloader(self._read, batching, options)

    def to_tf(
        self,
        batch_size: int,
        *,
        seed: int | None = None,
        epoch: int = 1,
        shuffle: bool | None = None,
        drop_last: bool = False,
        rank: int | None = None,
        world: int | None = None,
    ) -> Any:
        """A `tf.data.Dataset` of `(inputs, label, weight)` as far as there are, as Keras takes them; inputs
        are a dictionary where they have names. Each reading of it is the next epoch.

        Within a trial of several workers it has this one's rows, and strategies of TensorFlow take it so: its
        auto-shard policy is OFF. A last batch that has fewer rows than there are workers is left out."""
        batching = self._batching(batch_size, seed, epoch, shuffle, drop_last, rank, world)
        sections = self._dataset.on().sections(sampled=batching.shuffle)
        read = self._read if batching.world == 1 else self._read_for_all
        several = self._dataset.reading.world > 1
        return loader.tensorflow(read, batching, sections, self._plain, sharded=several)

    def _read_for_all(self, batching: Batching, form: str) -> Iterator[Any]:
        """The batches of which each rank has a row."""
        rows = batching.rows(self._dataset.on().training_rows())
        for batch, whole in zip(self._read(batching, form), rows, strict=False):
            if whole >= batching.world:
                yield batch

    def __repr__(self) -> str:
        return f"{self._dataset!r}.{self._part}"
