"""`lethe.Dataset`: columns, label and split; and the rows of its parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from lethe import flight
from lethe.application.application import Application, Stored
from lethe.application.registry import application
from lethe.dataset.columns import label_kind
from lethe.dataset.put import stored
from lethe.dataset.source import ArrowSource, Source, SparkSource
from lethe.errors import DataError
from lethe.flight import Peer
from lethe.session.find import active_session

if TYPE_CHECKING:
    import numpy as np
    import torch
    from pyspark.sql import DataFrame


@dataclass(frozen=True)
class Split:
    validation: float
    seed: int


class Dataset:
    """Features and a label, as columns of a table, and how rows are split.

    It is put on the executors when it is first used, once per Spark session, and stays there for later
    experiments; all splits share it.
    """

    def __init__(self, source: Source, split: Split | None = None) -> None:
        self._source, self._split = source, split

    @classmethod
    def from_spark(cls, df: DataFrame, features: str | Sequence[str], label: str | None = None) -> Dataset:
        """Columns of a Spark DataFrame.

        features: a column, or several in order, each of numbers or of arrays of numbers that are equally
            long; together they are one row of the float32 tensor `[rows, inputs]` that modules get.
        label: a column of numbers; whole numbers from 0 for classes.

        Raises DataError if a column does not exist or its type cannot be trained on.
        """
        if not type(df).__module__.startswith("pyspark.sql"):
            raise DataError(
                f"Dataset.from_spark takes a Spark DataFrame, not {type(df).__name__}; see Dataset.from_arrow"
            )
        return cls(SparkSource(df, features, label))

    @classmethod
    def from_arrow(cls, table: pa.Table, features: str | Sequence[str], label: str | None = None) -> Dataset:
        """Columns of an Arrow table in this process; see `from_spark`."""
        return cls(ArrowSource(table, features, label))

    def split(self, validation: float, seed: int = 0) -> Dataset:
        """A random split by row number and seed: `round(validation * rows)` rows validate, the others train.

        validation: a share between 0 and 1.
        """
        if not 0 < validation < 1:
            raise DataError(f"split: validation is a share between 0 and 1, not {validation!r}")
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
            raise DataError(f"split: seed must be a whole number from 0, below 2**63, not {seed!r}")
        return Dataset(self._source, Split(float(validation), seed))

    @property
    def features(self) -> tuple[str, ...]:
        return self._source.features

    @property
    def label(self) -> str | None:
        return self._source.label

    @property
    def train(self) -> Part:
        """The rows that train: all of them without a split."""
        return Part(self, "train")

    @property
    def validation(self) -> Part:
        """The rows that validate."""
        if self._split is None:
            raise DataError(
                "the dataset has no validation set; split it: dataset.split(validation=0.2, seed=1)"
            )
        return Part(self, "validation")

    def __repr__(self) -> str:
        split = f", validation={self._split.validation}, seed={self._split.seed}" if self._split else ""
        return f"Dataset(features={list(self.features)}, label={self.label!r}{split})"

    # What experiments need of it.

    @property
    def source(self) -> Source:
        return self._source

    @property
    def has_validation(self) -> bool:
        return self._split is not None

    def spec(self, loss: str | None) -> dict[str, Any]:
        """The message `DataSpec`."""
        spec: dict[str, Any] = {
            "dataset": self._source.name,
            "inputs": [{"name": "features", "columns": list(self.features), "dtype": "float32"}],
        }
        if self.label is not None:
            spec["label"] = {"column": self.label, "kind": label_kind(self._source.label_type(), loss)}
        if self._split is not None:
            spec["split"] = {
                "type": "random",
                "validation": self._split.validation,
                "test": 0.0,
                "seed": self._split.seed,
            }
        return spec

    def stored(self, owner: Application) -> Stored:
        """Puts it if need be, and checks that the split leaves rows on both sides."""
        found = stored(owner, self._source)
        if self._split is not None:
            validation = int(self._split.validation * found.rows + 0.5)
            if not 0 < validation < found.rows:
                raise DataError(
                    f"of {found.rows} rows, a validation share of {self._split.validation} leaves "
                    f"{validation} to validate "
                    f"and {found.rows - validation} to train; choose another share, or more rows"
                )
        return found

    def application(self) -> Application:
        """Where its rows are read from: the application of its session, or of the active one."""
        return application(self._source.session() or active_session())


class Part:
    """The rows of one side of a split, as trials see them, in order of their numbers."""

    def __init__(self, dataset: Dataset, part: str) -> None:
        self._dataset, self._part = dataset, part

    def to_arrow(self) -> pa.Table:
        """Columns `features` (fixed_size_list<float32>[inputs]) and, if there is one, `label` (int64 or
        float32).

        Raises DataError if the executors do not have it any more.
        """
        owner = self._dataset.application()
        found = self._dataset.stored(owner)
        ticket = {"type": "rows", "data": self._dataset.spec(None), "part": self._part}
        failures = []
        for peer in self._holders(owner, found):
            try:
                return peer.get(ticket)
            except flight.FAILED as error:
                failures.append(f"{peer.address}: {flight.reason(error)}")
            finally:
                peer.close()
        raise DataError(
            f"the rows could not be read from any executor; run lagom again ({'; '.join(failures)})"
        )

    def _holders(self, owner: Application, found: Stored) -> list[Peer]:
        """Executors that hold a part of the dataset now: the one that took it may have been replaced."""
        if owner.session is None:
            return [owner.executor()]
        try:
            located = owner.peer.call("dataset.locate", {"dataset": found.name})
        except flight.FAILED as error:
            raise DataError(f"the dataset could not be located: {flight.reason(error)}") from None
        places = (place["address"] for part in located["partitions"] for place in part["locations"])
        return [Peer(address, owner.token) for address in dict.fromkeys(places)]

    def to_numpy(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any] | None]:
        """Features, float32 `[rows, inputs]`, and labels `[rows]`, int64 or float32 (None without a
        label)."""
        table = self.to_arrow()
        features = table.column("features").combine_chunks()
        if isinstance(features, pa.ChunkedArray):
            features = pa.concat_arrays(features.chunks)
        values = features.flatten().to_numpy(zero_copy_only=False)
        label = table.column("label").to_numpy() if "label" in table.column_names else None
        return values.reshape(-1, features.type.list_size), label

    def to_torch(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """As `to_numpy`, as tensors of their own memory."""
        import torch

        features, label = self.to_numpy()
        return torch.tensor(features), None if label is None else torch.tensor(label)

    def __repr__(self) -> str:
        return f"{self._dataset!r}.{self._part}"
