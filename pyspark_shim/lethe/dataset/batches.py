"""Batches of a part, as the native loop trains on them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from lethe.dataset.tensors import FORMS
from lethe.errors import DataError


@dataclass(frozen=True)
class Batching:
    """How a part is read: which rows are a batch, in which order, and what this rank gets of each.

    own: rows of each rank, where each has its own and spreads them evenly over the steps; None: ranks have
    slices of the same rows.
    """

    batch_size: int
    seed: int = 0
    epoch: int = 1
    shuffle: bool = True
    drop_last: bool = False
    rank: int = 0
    world: int = 1
    own: tuple[int, ...] | None = None

    def ticket(self, data: dict[str, Any], part: str) -> dict[str, Any]:
        """The message `Ticket`: shuffled rows come as batches, others as they are numbered."""
        if not self.shuffle:
            return {"type": "rows", "data": data, "part": part}
        epoch: dict[str, Any] = {"seed": self.seed, "epoch": self.epoch, "batch_size": self.batch_size}
        if self.drop_last:
            epoch["drop_last"] = True
        if self.world > 1:
            epoch["shard"] = {"rank": self.rank, "world": self.world}
        return {"type": "batches", "data": data, "epoch": epoch}

    def rows(self, total: int) -> Iterator[int]:
        """Of each batch, all ranks together, where `total` rows are read."""
        if self.own is not None:
            yield from map(sum, zip(*(self._spread(rows) for rows in self.own), strict=True))
            return
        whole, rest = divmod(total, self.batch_size)
        yield from itertools.repeat(self.batch_size, whole)
        if rest and not self.drop_last:
            yield rest

    def cut(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The batches of what the ticket brings."""
        if self.shuffle:
            yield from batches
            return
        if self.own is not None:
            yield from rebatched(batches, self._spread(self.own[self.rank]))
            return
        for batch in rebatched(batches, itertools.repeat(self.batch_size)):
            if self.drop_last and batch.num_rows < self.batch_size:
                return
            begin, end = (batch.num_rows * rank // self.world for rank in (self.rank, self.rank + 1))
            yield batch.slice(begin, end - begin)

    def _spread(self, rows: int) -> Iterator[int]:
        """Of so many rows, those of each step; as the executor's `Steps::of_rank`."""
        steps = -(-sum(self.own or ()) // self.batch_size)
        return (rows * (step + 1) // steps - rows * step // steps for step in range(steps))


def rebatched(batches: Iterable[pa.RecordBatch], sizes: Iterator[int]) -> Iterator[pa.RecordBatch]:
    """The same rows, so many in each batch; the last may be short."""
    waiting: list[pa.RecordBatch] = []
    held, size = 0, next(sizes, None)
    for batch in batches:
        waiting.append(batch)
        held += batch.num_rows
        while size is not None and held >= size:
            taken, waiting = _take(waiting, size)
            held -= size
            size = next(sizes, None)
            yield taken
    if held:
        yield _take(waiting, held)[0]


def _take(waiting: list[pa.RecordBatch], rows: int) -> tuple[pa.RecordBatch, list[pa.RecordBatch]]:
    """The first rows, without a copy where one batch has them, and what is left."""
    if rows == 0:
        return waiting[0].slice(0, 0), waiting
    pieces = []
    for place, batch in enumerate(waiting):
        pieces.append(batch.slice(0, rows))
        rows -= pieces[-1].num_rows
        if rows == 0:
            rest = batch.slice(pieces[-1].num_rows)
            left = [*([rest] if rest.num_rows else []), *waiting[place + 1 :]]
            return pieces[0] if len(pieces) == 1 else _joined(pieces), left
    raise AssertionError("fewer rows than were counted")


def _joined(pieces: list[pa.RecordBatch]) -> pa.RecordBatch:
    columns = [pa.concat_arrays([piece.column(i) for piece in pieces]) for i in range(pieces[0].num_columns)]
    return pa.RecordBatch.from_arrays(columns, schema=pieces[0].schema)


def batching_of(
    part: str,
    batch_size: int,
    seed: int,
    epoch: int,
    shuffle: bool | None,
    drop_last: bool,
    rank: int,
    world: int,
    own: tuple[int, ...] | None = None,
) -> Batching:
    """Raises DataError, which names the argument that is wrong."""
    limits = {
        "batch_size": (batch_size, 1, 2**32),
        "seed": (seed, 0, 2**63),
        "epoch": (epoch, 1, 2**32),
        "world": (world, 1, 2**32),
    }
    for name, (value, least, below) in limits.items():
        _whole(name, value, least, below)
    _whole("rank", rank, 0, world)
    if shuffle and part != "train":
        raise DataError(
            f"batches: only the training rows are shuffled, not those of {part}; leave out shuffle"
        )
    shuffled = part == "train" if shuffle is None else shuffle
    return Batching(batch_size, seed, epoch, shuffled, drop_last, rank, world, own)


def _whole(name: str, value: Any, least: int, below: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value < below:
        raise DataError(f"batches: {name} must be a whole number from {least}, below {below}, not {value!r}")


def check_form(form: str) -> str:
    if form not in FORMS:
        raise DataError(f"batches: form must be one of {', '.join(FORMS)}, not {form!r}")
    return form
