"""Nested state as JSON and arrays: what a checkpoint of a Python function is made of. No pickle."""

from __future__ import annotations

import json
import math
import sys
from typing import Any

import numpy as np

#: An array by its name: PyTorch's name of its dtype, its shape, its elements little-endian, row-major.
Arrays = dict[str, tuple[str, list[int], bytes]]

_DTYPES = ("float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8", "bool")
#: Types that PyTorch has not, of generators' states: their bytes travel.
_BYTES = ("uint16", "uint32", "uint64")


class TreeError(TypeError):
    """A value that cannot be part of a checkpoint."""


def encode(value: Any, prefix: str) -> tuple[Any, Arrays]:
    """As JSON, with the arrays beside it under names that begin with `prefix`.

    value: dicts, lists and tuples of tensors, NumPy arrays, bytes, numbers, strings, booleans and None.
    Raises TreeError, which says where another one is.
    """
    arrays: Arrays = {}

    def name(array: tuple[str, list[int], bytes]) -> str:
        found = f"{prefix}{len(arrays)}"
        arrays[found] = array
        return found

    def plain(value: Any, place: str) -> Any:
        torch = sys.modules.get("torch")
        if value is None or isinstance(value, bool | str):
            return {"v": value}
        if isinstance(value, int):
            # JSON's numbers are 64 bits wide on the other side.
            return {"v": value} if -(2**63) <= value < 2**63 else {"i": str(value)}
        if isinstance(value, float):
            return {"v": value} if math.isfinite(value) else {"f": repr(value)}
        if isinstance(value, np.generic):
            return plain(value.item(), place)
        if torch is not None and isinstance(value, torch.Tensor):
            return {"t": name(array_of(value, f"checkpoint.save: {place}"))}
        if isinstance(value, np.ndarray) and str(value.dtype) in _BYTES:
            data = np.ascontiguousarray(value).tobytes()
            return {"r": [name(("uint8", [len(data)], data)), str(value.dtype), list(value.shape)]}
        if isinstance(value, np.ndarray):
            return {"a": name(_of_array(value, place))}
        if isinstance(value, bytes | bytearray):
            return {"b": name(("uint8", [len(value)], bytes(value)))}
        if isinstance(value, dict):
            items = value.items()
            return {"d": [[plain(k, f"{place} key"), plain(v, f"{place}[{k!r}]")] for k, v in items]}
        if isinstance(value, list | tuple):
            inner = [plain(v, f"{place}[{i}]") for i, v in enumerate(value)]
            return {"l" if isinstance(value, list) else "u": inner}
        raise TreeError(
            f"checkpoint.save: {place} is a {type(value).__name__}; save dicts, lists, tensors, arrays, "
            f"numbers and "
            "strings, such as state_dict()s"
        )

    return plain(value, "state"), arrays


def array_of(tensor: Any, place: str) -> tuple[str, list[int], bytes]:
    """Of PyTorch's; one whose parts are held by several workers is made whole, by all of them at once.

    Raises TreeError, which begins with `place`, for a dtype that cannot be written.
    """
    import torch

    if hasattr(tensor, "full_tensor"):
        tensor = tensor.full_tensor()
    dtype = str(tensor.dtype).removeprefix("torch.")
    if dtype not in (*_DTYPES, "bfloat16"):
        raise TreeError(f"{place} has dtype {dtype}; convert it to float32, say")
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    data = flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""
    return dtype, list(tensor.shape), data


def _of_array(array: Any, place: str) -> tuple[str, list[int], bytes]:
    dtype = str(array.dtype)
    if dtype not in _DTYPES:
        raise TreeError(f"checkpoint.save: {place} has dtype {dtype}; convert it to float64, say")
    return dtype, list(array.shape), np.ascontiguousarray(array).tobytes()


def decode(tree: Any, arrays: Arrays) -> Any:
    """The value that was encoded."""
    ((kind, inner),) = tree.items()
    if kind == "v":
        return inner
    if kind == "i":
        return int(inner)
    if kind == "f":
        return float(inner)
    if kind == "t":
        import torch

        dtype, shape, data = arrays[inner]
        kind_ = getattr(torch, dtype)
        flat = torch.frombuffer(bytearray(data), dtype=kind_) if data else torch.empty(0, dtype=kind_)
        return flat.reshape(shape)
    if kind == "a":
        dtype, shape, data = arrays[inner]
        return np.frombuffer(data, dtype=dtype).reshape(shape).copy()
    if kind == "r":
        name, dtype, shape = inner
        return np.frombuffer(arrays[name][2], dtype=dtype).reshape(shape).copy()
    if kind == "b":
        return arrays[inner][2]
    if kind == "d":
        return {decode(k, arrays): decode(v, arrays) for k, v in inner}
    values = [decode(v, arrays) for v in inner]
    return values if kind == "l" else tuple(values)


def json_bytes(meta: dict[str, Any]) -> bytes:
    return json.dumps(meta, allow_nan=False).encode()


def parse(text: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text)
    return found
