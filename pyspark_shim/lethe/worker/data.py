"""The dataset of a trial, read from the executor beside its worker."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from lethe import flight
from lethe.dataset.part import Parts, Reading
from lethe.errors import DataError
from lethe.worker.gang.shares import Shares


class TrialData(Parts):
    """What a function gets as `dataset`: its parts are those of the `lethe.Dataset` that was given to
    `lagom`, and their batches those that the native loop trains on under the trial's seed; of a trial of
    several workers, this one's shard."""

    def __init__(self, peer: flight.Peer, spec: dict[str, Any], view: dict[str, Any], shares: Shares) -> None:
        local = view.get("local")
        own = None if local is None else tuple(local["train"])
        self.reading = Reading(spec["seed"], shares.rank, shares.world, shares, own)
        self._data, self._view = spec["data"], view
        self._placed = _Placed(peer, spec["data"], view)

    @property
    def has_validation(self) -> bool:
        return bool(self._view["validation"] > 0)

    @property
    def has_test(self) -> bool:
        return bool(self._view["test"] > 0)

    @property
    def features(self) -> tuple[str, ...]:
        """The columns of all inputs, without those that an ablation leaves out."""
        without = self._data.get("without", [])
        names = (name for one in self._data["inputs"] for name in one["columns"])
        return tuple(dict.fromkeys(name for name in names if name not in without))

    @property
    def label(self) -> str | None:
        label = self._data.get("label")
        return None if label is None else str(label["column"])

    @property
    def inputs(self) -> dict[str, Any]:
        """By name: the shape of one row."""
        return {one["name"]: tuple(one["shape"]) for one in self._view["inputs"]}

    def on(self) -> _Placed:
        return self._placed

    def __repr__(self) -> str:
        rows = ", ".join(f"{part}={self._view[part]}" for part in ("train", "validation", "test"))
        return f"TrialData(features={list(self.features)}, label={self.label!r}, {rows})"


class _Placed:
    """Reads tickets; see `lethe.dataset.placed.Placed`."""

    def __init__(self, peer: flight.Peer, data: dict[str, Any], view: dict[str, Any]) -> None:
        self._peer, self._data, self._view = peer, data, view

    def spec(self, loss: str | None) -> dict[str, Any]:
        return self._data

    def shapes(self) -> dict[str, tuple[int, ...] | None]:
        shapes = {one["name"]: tuple(one["shape"]) for one in self._view["inputs"]}
        return {name: shape if len(shape) != 1 else None for name, shape in shapes.items()}

    def sections(self, sampled: bool) -> list[dict[str, Any]]:
        found = [*self._view["inputs"], self._view.get("label")]
        if not (sampled and self._view["order"]["sampling"] == "weighted"):
            found.append(self._view.get("weight"))
        return [{name: one[name] for name in ("name", "dtype", "shape")} for one in found if one is not None]

    def training_rows(self) -> int:
        return int(self._view["train"])

    def table(self, ticket: dict[str, Any]) -> pa.Table:
        try:
            return self._peer.get(ticket)
        except flight.FAILED as error:
            raise DataError(flight.reason(error)) from None

    def stream(self, ticket: dict[str, Any]) -> Iterator[pa.RecordBatch]:
        try:
            yield from self._peer.read(ticket)
        except flight.FAILED as error:
            raise DataError(flight.reason(error)) from None
