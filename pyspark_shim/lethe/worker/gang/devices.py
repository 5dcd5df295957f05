"""Workers of one trial train on devices of one kind."""

from __future__ import annotations

from typing import Protocol

from lethe.errors import LetheError


class Store(Protocol):
    """Of torch.distributed's what is used here."""

    def set(self, key: str, value: bytes | str) -> None: ...

    def get(self, key: str) -> bytes: ...


def same_devices(store: Store, rank: int, world: int, has_gpu: bool) -> None:
    """Ranks on GPUs would wait in NCCL for those that have none.

    Raises LetheError on all of them if only some have a GPU.
    """
    store.set(f"gpu/{rank}", b"yes" if has_gpu else b"no")
    have = [store.get(f"gpu/{other}") == b"yes" for other in range(world)]
    if any(have) and not all(have):
        raise LetheError(
            f"worker {have.index(False)} of {world} has no GPU, and others have one: give each slot one "
            "(spark.task.resource.gpu.amount=1), or none any"
        )
