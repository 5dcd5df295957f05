"""Gradients of one model on several ranks: after each backward pass all have those of the whole batch.

DistributedDataParallel does this for passes that begin at its own `forward`, as another module in the model's
place. A function that was written for one worker calls parts of its model, or methods of it, asks for its
class and copies it: here the model stays what it is, and what counts is that a pass has reached its
parameters. As there, gradients travel in buckets, while the pass goes on.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
import torch.distributed as dist

from lethe.worker.gang.bucket import Copies, Gradients, alike
from lethe.worker.gang.shares import Shares


class Reducer:
    """Of one model.

    parameters: those that are trained now or later, and integers, which have no gradients. buffers: what is
    rank 0's after each pass, such as the means of batch norm; integers are left alone.
    """

    def __init__(
        self, parameters: Iterable[torch.nn.Parameter], buffers: Iterable[torch.Tensor], shares: Shares
    ) -> None:
        # Gradients come in about the opposite order.
        self._parameters = list(parameters)[::-1]
        self._shares = shares
        copied = [tensor for tensor in buffers if tensor.is_floating_point()]
        self._copies = [Copies(some, shares.rank) for some in alike(copied)]
        self._buckets: list[Gradients | Copies] = []
        self._of: dict[int, Gradients] = {}
        #: The backward pass, by autograd's number; buckets that have been sent, and that are on their way.
        self._pass = -1
        self._sent = 0
        self._under_way: list[tuple[Gradients | Copies, torch.Tensor, Any]] = []
        for parameter in self._parameters:
            if not (parameter.is_floating_point() or parameter.is_complex()):
                continue
            trained = parameter.requires_grad
            # A hook also waits for what is frozen so far.
            parameter.requires_grad_(True).register_post_accumulate_grad_hook(partial(_accumulated, self))
            parameter.requires_grad_(trained)

    def begin(self) -> None:
        """All ranks begin with the parameters and buffers of rank 0."""
        for some in alike(tensor.data for tensor in self._parameters):
            self._send(Copies(some, self._shares.rank))
        for copies in self._copies:
            self._send(copies)
        self._receive()

    def accumulated(self, parameter: torch.nn.Parameter) -> None:
        """The pass has brought all of this parameter's gradient."""
        now = torch._C._current_graph_task_id()
        if now != self._pass:
            # Also where a pass runs within another, as with checkpointed activations: what is under way is of
            # gradients that this one adds to.
            self._receive()
            self._start()
            self._pass = now
            torch.autograd.Variable._execution_engine.queue_callback(self._end)
        bucket = self._of.get(id(parameter))
        if bucket is None:
            return
        bucket.waits -= 1
        # In one order on all ranks, whichever is full first.
        while self._sent < len(self._buckets) and self._buckets[self._sent].waits <= 0:
            self._next()

    def _start(self) -> None:
        trained = [parameter for parameter in self._parameters if parameter.requires_grad]
        if [id(parameter) for parameter in trained] != list(self._of):
            gradients = [Gradients(some) for some in alike(trained)]
            self._of = {id(one): bucket for bucket in gradients for one in bucket.parameters}
            self._buckets = [*gradients, *self._copies]
        for bucket in self._of.values():
            bucket.waits = len(bucket.parameters)
        self._sent = 0

    def _end(self) -> None:
        while self._sent < len(self._buckets):
            self._next()
        self._receive()
        self._pass = -1

    def _next(self) -> None:
        bucket = self._buckets[self._sent]
        self._sent += 1
        self._send(bucket)

    def _send(self, bucket: Gradients | Copies) -> None:
        packed = bucket.packed(self._shares.current)
        self._under_way.append((bucket, packed, dist.all_reduce(packed, async_op=True)))

    def _receive(self) -> None:
        under_way, self._under_way = self._under_way, []
        for bucket, packed, work in under_way:
            work.wait()
            bucket.unpack(packed)


def _accumulated(reducer: Reducer, parameter: torch.nn.Parameter) -> None:
    # A model that outlives its trial trains alone.
    if dist.is_initialized():
        reducer.accumulated(parameter)
