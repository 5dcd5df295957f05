"""A model of which each rank holds a part: torch's FSDP (`fully_shard`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.utils._pytree import tree_map_only

from lethe.errors import LetheError
from lethe.worker.gang.replica import is_keras
from lethe.worker.gang.shares import Shares


def shard(module: torch.nn.Module, shares: Shares) -> None:
    """Each rank keeps its part of each parameter, of its gradient and of the optimizer's state of it. Layers
    of containers (`Sequential`, `ModuleList`) are whole only while they are used.

    The module's state is read and loaded as that of one worker, by all ranks at once.

    Raises LetheError if there is a model or a layer of Keras in it: those hold on to their whole weights.
    """
    if any(is_keras(one) for one in module.modules()):
        raise LetheError(
            'sharding="full" is for modules of PyTorch, and the model is one of Keras, or has its layers; '
            "leave out sharding: each worker then holds the whole model"
        )
    mesh = init_device_mesh(next(module.parameters()).device.type, (shares.world,))
    for container in module.modules():
        if isinstance(container, torch.nn.ModuleList | torch.nn.Sequential) and container is not module:
            for layer in container:
                if any(True for _ in layer.parameters()) and not isinstance(layer, FSDPModule):
                    fully_shard(layer, mesh=mesh)
    fully_shard(module, mesh=mesh)
    for one in module.modules():
        if isinstance(one, FSDPModule):
            # Gloo has no mean.
            one.set_force_sum_reduction_for_comms(True)
    module.register_forward_pre_hook(_called(shares), with_kwargs=True)
    module.register_forward_hook(_weighted(shares))
    module.register_state_dict_post_hook(_whole)
    module.register_load_state_dict_pre_hook(_parted)


def _called(shares: Shares) -> Callable[..., None]:
    def called(module: Any, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        if torch.is_grad_enabled():
            shares.of(inputs, named)

    return called


def _weighted(shares: Shares) -> Callable[..., Any]:
    def weighted(module: Any, inputs: Any, output: Any) -> Any:
        # FSDP divides by the number of ranks.
        factor = shares.current * shares.world
        return tree_map_only(
            torch.Tensor,
            lambda tensor: _Weighted.apply(tensor, factor) if tensor.requires_grad else tensor,
            output,
        )

    return weighted


class _Weighted(torch.autograd.Function):  # type: ignore[misc]
    """The same, and gradients times a number."""

    @staticmethod
    def forward(ctx: Any, tensor: torch.Tensor, factor: float) -> torch.Tensor:
        ctx.factor = factor
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return (gradient * ctx.factor if ctx.factor else torch.zeros_like(gradient)), None


def whole(tensor: Any) -> Any:
    """Of a part the whole, which all ranks ask for at once; others as they are."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def _whole(module: Any, state: dict[str, Any], prefix: str, metadata: Any) -> None:
    for name in list(state):
        if name.startswith(prefix):
            state[name] = whole(state[name])


def _parted(module: torch.nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    own = dict(module.named_parameters(remove_duplicate=False))
    for name in list(state):
        parameter = own.get(name.removeprefix(prefix))
        if isinstance(parameter, DTensor) and not isinstance(state[name], DTensor):
            state[name] = _part(state[name], parameter)


def _part(tensor: torch.Tensor, like: DTensor) -> DTensor:
    """This rank's, of a tensor that all ranks have."""
    there = tensor.to(device=like.device, dtype=like.dtype)
    return distribute_tensor(there, like.device_mesh, like.placements, src_data_rank=None)


def part_states() -> Any:
    """Optimizers take states that were saved whole: before the next step they become those of the parts.
    Returns the handle which ends this."""

    def parted(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        for parameter, state in optimizer.state.items():
            if isinstance(parameter, DTensor):
                for name, value in state.items():
                    plain = isinstance(value, torch.Tensor) and not isinstance(value, DTensor)
                    if plain and value.shape == parameter.shape and value.dim() > 0:
                        state[name] = _part(value, parameter)

    return register_optimizer_step_pre_hook(parted)
