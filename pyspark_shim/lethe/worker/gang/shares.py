"""What a rank's rows count in a batch that several ranks share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa

#: The attribute of a tensor that says the share of its batch.
SHARE = "_lethe_share"


class Shares:
    """Ranks' slices of a batch differ by a row, and a short batch may leave a rank without any. The mean of
    the whole batch is the sum of the ranks' means, each times its share of the rows.

    current: the share of the batch that the next backward pass is of. It begins as an equal part, which it
    stays for functions that bring their own rows.
    """

    def __init__(self, rank: int, world: int) -> None:
        self.rank, self.world = rank, world
        self.current = 1.0 / world

    def follow(
        self,
        slices: Iterator[pa.RecordBatch],
        rows: Iterator[int],
        first_row: Callable[[], pa.RecordBatch],
    ) -> Iterator[tuple[pa.RecordBatch, float]]:
        """Each of the rank's slices, with its share. One without rows becomes one row that counts nothing,
        so that each rank takes the same steps. After the last the current share is an equal part again.

        rows: of the whole batches. first_row: any row.
        """
        spare: pa.RecordBatch | None = None
        for own, whole in zip(slices, rows, strict=False):
            if own.num_rows:
                spare = own
                yield own, own.num_rows / whole
            else:
                spare = first_row().select(own.schema.names) if spare is None else spare
                yield spare.slice(0, 1), 0.0
        self.current = 1.0 / self.world

    def drawn(self, batch: Any, share: float) -> Any:
        """The batch as the function gets it. Its tensors remember their share, for functions that draw the
        next batch before they have trained on this one."""
        self.current = share
        if isinstance(batch, dict):
            for column in batch.values():
                if hasattr(column, "requires_grad"):
                    setattr(column, SHARE, share)
        return batch

    def of(self, *inputs: Any) -> None:
        """A model is called with these: their share is the current one, where they know it."""
        for one in inputs:
            if isinstance(one, dict):
                self.of(*one.values())
            elif isinstance(one, list | tuple):
                self.of(*one)
            elif (share := getattr(one, SHARE, None)) is not None:
                self.current = share
