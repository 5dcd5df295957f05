"""Tensors that travel together, as one flat one."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence

import torch

#: Of one bucket, bytes, as DistributedDataParallel's.
BYTES = 25 << 20


class Gradients:
    """Those of some parameters. Each is the sum over ranks, once each rank's counted by its share; those that
    no rank has stay None."""

    def __init__(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        self.parameters = list(parameters)
        #: Parameters whose gradients this backward pass has yet to bring.
        self.waits = len(self.parameters)

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def packed(self, share: float) -> torch.Tensor:
        """All gradients, and for each whether there is one."""
        there = [parameter.grad is not None for parameter in self.parameters]
        flat = [_flat(parameter) for parameter in self.parameters]
        flags = torch.tensor(there, dtype=flat[0].dtype, device=flat[0].device)
        packed = torch.cat([*flat, flags])
        values = packed[: -len(there)]
        # What counts nothing may be NaN.
        values.mul_(share) if share else values.zero_()
        return packed

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def unpack(self, packed: torch.Tensor) -> None:
        sizes = [parameter.numel() for parameter in self.parameters]
        *pieces, flags = packed.split([*sizes, len(sizes)])
        if any(parameter.grad is None for parameter in self.parameters):
            has = flags.tolist()
        else:
            # Without a look at a GPU's memory, which would wait for it.
            has = [1.0] * len(sizes)
        for parameter, piece, there in zip(self.parameters, pieces, has, strict=True):
            if not there:
                continue
            mean = piece.view_as(parameter)
            if parameter.grad is None or parameter.grad.is_sparse:
                parameter.grad = mean.clone()
            else:
                parameter.grad.copy_(mean)


class Copies:
    """Tensors that become those of rank 0. They travel as bytes: collectives do not know each dtype."""

    waits = 1

    def __init__(self, tensors: Sequence[torch.Tensor], rank: int) -> None:
        self._tensors, self._rank = list(tensors), rank

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def packed(self, share: float) -> torch.Tensor:
        packed = torch.cat([tensor.detach().reshape(-1).view(torch.uint8) for tensor in self._tensors])
        return packed if self._rank == 0 else packed.zero_()

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def unpack(self, packed: torch.Tensor) -> None:
        pieces = packed.split([tensor.nbytes for tensor in self._tensors])
        for tensor, piece in zip(self._tensors, pieces, strict=True):
            tensor.copy_(piece.view(tensor.dtype).view_as(tensor))


def _flat(parameter: torch.nn.Parameter) -> torch.Tensor:
    gradient = parameter.grad
    if gradient is None:
        return torch.zeros(parameter.numel(), dtype=parameter.dtype, device=parameter.device)
    return (gradient.to_dense() if gradient.is_sparse else gradient).reshape(-1)


def alike(tensors: Iterable[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    """Neighbours of one device and dtype together, up to `BYTES`."""
    for _, run in itertools.groupby(tensors, key=lambda tensor: (tensor.device, tensor.dtype)):
        together: list[torch.Tensor] = []
        size = 0
        for tensor in run:
            if together and size + tensor.nbytes > BYTES:
                yield together
                together, size = [], 0
            together.append(tensor)
            size += tensor.nbytes
        yield together
