"""Scripts modules, and says in one line why one cannot be."""

from __future__ import annotations

import io
import re
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lethe.errors import ModelError

#: Methods that own loss and metrics; exported where a module defines them.
STEPS = ("training_step", "validation_step")


def script(module: nn.Module) -> Any:
    """The module as TorchScript.

    Raises ModelError, whose first line names the line of code and what to do.
    """
    if isinstance(module, torch.jit.ScriptModule):
        return module
    for step in STEPS:
        method = getattr(type(module), step, None)
        if method is not None:
            torch.jit.export(method)
    try:
        with warnings.catch_warnings():
            # "torch.jit.script is deprecated": it is the form that the trainer runs.
            warnings.simplefilter("ignore")
            return torch.jit.script(module)
    except Exception as error:
        raise ModelError(explain(error, type(module).__name__)) from None


def save(scripted: Any, target: str | io.BytesIO) -> None:
    """`torch.jit.save` without its warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(scripted, target)


def explain(error: Exception, name: str) -> str:
    """What torch said, the place and the remedy first."""
    text = str(error).strip()
    what = next(
        (line.strip().rstrip(":") for line in text.splitlines() if line.strip()), type(error).__name__
    )
    places = re.findall(r'File "([^"]+)", line (\d+)', text)
    library = str(Path(torch.__file__).parent)
    place = next((found for found in places if not found[0].startswith(library)), None)
    where = f"{place[0]}:{place[1]}" if place is not None else f"model {name}"
    return (
        f"{where}: the model cannot be scripted: {what}; write this line in the part of Python that "
        "torch.jit.script "
        "knows (typed arguments, tensor operations, no **kwargs), or move it out of the module into the "
        f"generator\n{text}"
    )
