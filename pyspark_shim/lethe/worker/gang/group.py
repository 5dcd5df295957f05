"""The process groups of a trial on several workers."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist

from lethe.worker.gang.store import GangStore

#: By these Gloo and NCCL are told where to listen, each time that a group is made. NCCL takes a name for the
#: beginning of names, unless it is told not to.
INTERFACES = {"GLOO_SOCKET_IFNAME": "{}", "NCCL_SOCKET_IFNAME": "={}"}
#: What taking a group down may take, seconds: NCCL's may wait for a rank that is dead.
DOWN = 20.0


class Group:
    """torch.distributed as the function finds it: its default group, Gloo's for tensors of the CPU and NCCL's
    for those of a GPU; beside it one that the function does not know of, for what the ranks tell each other
    between its collectives."""

    def __init__(self, store: GangStore, rank: int, world: int, interface: str) -> None:
        # The function may make groups of its own. What the user has set stays.
        self._set = [name for name in INTERFACES if name not in os.environ]
        os.environ.update({name: INTERFACES[name].format(interface) for name in self._set})
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        if not dist.is_initialized():
            # Groups are named by their number, and ranks find each other by these names. One that did not
            # come about has been counted, here and maybe not on the other ranks.
            dist.distributed_c10d._world.group_count = 0
        try:
            dist.init_process_group(backend, store=store, rank=rank, world_size=world)
            self._side = dist.new_group(backend="gloo")
        except BaseException:
            self.close()
            raise

    def first(self, numbers: list[float]) -> list[float]:
        """Those of rank 0."""
        told = torch.tensor(numbers, dtype=torch.float64)
        dist.broadcast(told, 0, group=self._side)
        return [float(number) for number in told]

    def close(self) -> None:
        """Also where other ranks are gone: their collectives break then."""
        for name in self._set:
            os.environ.pop(name, None)
        self._side = None
        if dist.is_initialized():
            with _ends_in_time():
                dist.destroy_process_group()


@contextmanager
def _ends_in_time() -> Iterator[None]:
    """The process ends where this takes too long: another takes its place."""
    watch = threading.Timer(DOWN, os._exit, (1,))
    watch.daemon = True
    watch.start()
    try:
        yield
    finally:
        watch.cancel()
