"""What a model generator is told of the tensors that its module will get."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

#: The width of a row, or its shape; of several inputs, these by their names.
Inputs = int | tuple[int, ...] | dict[str, int | tuple[int, ...]]


def inputs_of(sections: Sequence[dict[str, Any]]) -> Inputs:
    """The generator's `inputs`, of the messages `Section` of a dataset's inputs: of one input of shape `[w]`
    the number `w`, of one of another shape that shape, of several a dict."""
    shapes = {section["name"]: _shape(section["shape"]) for section in sections}
    if len(shapes) == 1:
        return next(iter(shapes.values()))
    return shapes


def _shape(shape: Sequence[int]) -> int | tuple[int, ...]:
    return int(shape[0]) if len(shape) == 1 else tuple(int(size) for size in shape)
