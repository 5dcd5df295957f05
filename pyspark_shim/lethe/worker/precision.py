"""What a model computes in."""

from __future__ import annotations

import functools
import sys
from typing import Any

from lethe.errors import LetheError


def compute_in(model: Any, precision: str) -> None:
    """The model's `forward` runs under PyTorch's autocast from here on: matrix products and convolutions in
    that precision, what needs the digits in float32. Weights, what it returns and gradients stay float32.

    Raises LetheError for what is no module of PyTorch.
    """
    torch = sys.modules.get("torch")
    keras = any(one.__module__.partition(".")[0] == "keras" for one in type(model).__mro__)
    if torch is None or not isinstance(model, torch.nn.Module) or keras:
        raise LetheError(
            f"precision={precision!r} is for models of PyTorch, and the generator has made a "
            f"{type(model).__name__}"
            + ("; call keras.config.set_dtype_policy('mixed_bfloat16') in it" if keras else "")
        )
    from torch.utils._pytree import tree_map_only

    dtype, own = getattr(torch, precision), type(model)

    def full(tensor: Any) -> Any:
        return tensor.float() if tensor.dtype == dtype else tensor

    @functools.wraps(own.forward)
    def forward(self: Any, *inputs: Any, **named: Any) -> Any:
        device = next((parameter.device.type for parameter in self.parameters()), "cpu")
        with torch.autocast(device, dtype=dtype):
            output = own.forward(self, *inputs, **named)
        return tree_map_only(torch.Tensor, full, output)

    # A class of its own, so that copies of the model do the same.
    model.__class__ = type(own.__name__, (own,), {"forward": forward, "__module__": own.__module__})
