"""A saved model's module: TorchScript, or made by the user's generator; nothing of it is unpickled."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lethe.errors import ModelError

if TYPE_CHECKING:
    from torch import nn

    from lethe.model.inputs import Inputs


@dataclass(frozen=True)
class Shipped:
    """A file that went to the session's executors by itself, since a plan of Spark Connect holds no more than
    128 MB."""

    name: str

    def read(self) -> bytes:
        """In a task."""
        from pyspark import SparkFiles

        return Path(SparkFiles.get(self.name)).read_bytes()


@dataclass(frozen=True)
class Scripted:
    """content: what `torch.jit.save` gave."""

    content: bytes | Shipped

    def module(self) -> Any:
        """On the CPU, in evaluation mode.

        Raises ModelError if it is no TorchScript.
        """
        import torch

        try:
            with warnings.catch_warnings():
                # "torch.jit.load is deprecated": it is the form that the trainer runs.
                warnings.simplefilter("ignore")
                return torch.jit.load(io.BytesIO(_bytes(self.content)), map_location="cpu").eval()
        except (RuntimeError, ValueError) as error:
            raise ModelError(
                f"the model's TorchScript cannot be loaded by torch {torch.__version__}: "
                f"{str(error).splitlines()[0]}; was it saved by a later one?"
            ) from None


@dataclass(frozen=True)
class Generated:
    """generator: of the user, called as in training; content: the saved state dict."""

    generator: Callable[..., Any]
    hparams: dict[str, Any]
    inputs: Inputs
    seed: int
    content: bytes | Shipped

    def module(self) -> nn.Module:
        """On the CPU, in evaluation mode.

        Raises ModelError if the generator makes another module than the one that was saved.
        """
        from lethe.model.generator import Generator

        module = Generator(self.generator)(self.hparams, self.inputs, self.seed)
        try:
            module.load_state_dict(state_dict(_bytes(self.content)))
        except RuntimeError as error:
            raise ModelError(
                f"the saved weights are not those of this model: {error}; give the generator that it was "
                "trained with: lethe.load(…, model=make_model)"
            ) from None
        return module.eval()


def _bytes(content: bytes | Shipped) -> bytes:
    return content.read() if isinstance(content, Shipped) else content


def state_dict(content: bytes) -> dict[str, Any]:
    """Tensors by name.

    Raises ModelError if there is anything else in it.
    """
    import pickle

    import torch

    try:
        found: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (RuntimeError, ValueError, pickle.UnpicklingError) as error:
        raise ModelError(
            f"the model's state dict holds more than tensors, or is damaged: {str(error).splitlines()[0]}"
        ) from None
    return found


def apply(module: Any, inputs: dict[str, Any]) -> Any:
    """The module's output for one batch: a tensor, `[rows, …]`.

    Raises ModelError if it raises, or gives anything else.
    """
    import torch

    rows = next(iter(inputs.values())).shape[0]
    try:
        with torch.inference_mode():
            output = module(*inputs.values())
    except Exception as error:
        shapes = ", ".join(f"{name} {list(value.shape)}" for name, value in inputs.items())
        lines = str(error).strip().splitlines() or [""]
        raise ModelError(
            f"the model failed on a batch of {shapes}: {type(error).__name__}: {lines[-1]}"
        ) from error
    if not isinstance(output, torch.Tensor) or output.dim() == 0 or output.shape[0] != rows:
        given = f"{list(output.shape)}" if isinstance(output, torch.Tensor) else type(output).__name__
        raise ModelError(
            f"the model gave {given} for {rows} rows, and predict needs a tensor with a row for each; take "
            "model.module(), and what you need of its output"
        )
    return output
