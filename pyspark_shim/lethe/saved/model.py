"""`lethe.SavedModel`: a trained model and all that it needs of raw rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from lethe.dataset.preprocessing import Preprocessing
from lethe.errors import DataError, ModelError
from lethe.result.tables import number
from lethe.saved import manifest, table
from lethe.saved.manifest import Manifest
from lethe.saved.outputs import wanted_of
from lethe.saved.predictor import Predictor
from lethe.saved.program import Generated, Scripted, state_dict
from lethe.saved.signature import Signature

if TYPE_CHECKING:
    import torch


class SavedModel:
    """What `lethe.load` gives. It needs no running process of Lethe.

    url: where it lies. name: of the experiment that it is the best model of. description: all of
    `experiment.json`.
    """

    def __init__(
        self,
        url: str,
        files: Manifest,
        description: dict[str, Any],
        signature: Signature | None,
        program: tuple[str, Scripted | Generated] | None,
    ) -> None:
        self._files, self._signature, self._program = files, signature, program
        self.url, self.description = url, description
        self.name = str(description["name"])

    @property
    def hparams(self) -> dict[str, Any]:
        return dict(self.description["hparams"])

    @property
    def metrics(self) -> dict[str, float]:
        """Those of the model, from the experiment that trained it."""
        return {name: number(value) for name, value in self.description["metrics"].items()}

    @property
    def columns(self) -> dict[str, pa.DataType]:
        """The columns that rows must have, and their types in training."""
        return {} if self._signature is None else self._signature.required

    @property
    def inputs(self) -> dict[str, dict[str, Any]]:
        """The tensors that the module gets, by name, in order: columns, dtype, shape of one row."""
        found = [] if self._signature is None else self._signature.preprocessing.inputs
        return {one["name"]: {part: one[part] for part in ("columns", "dtype", "shape")} for one in found}

    @property
    def classes(self) -> list[str] | None:
        """The names of the classes 0, 1, …, where the label was strings."""
        return None if self._signature is None else self._signature.classes

    @property
    def task(self) -> str | None:
        """What its outputs mean: "classification", "binary", "regression" or "output"; None where it was
        trained without a dataset."""
        return None if self._signature is None else self._signature.task

    @property
    def preprocessing(self) -> Preprocessing | None:
        """What raw rows need before `module()` gets them; None where it was trained without a dataset."""
        return None if self._signature is None else self._signature.preprocessing

    def module(self) -> Any:
        """The module with its weights, on the CPU, in evaluation mode: TorchScript, or what the generator
        that `load` was given makes. Its arguments are the tensors of `inputs`.

        Raises ModelError if it was saved without TorchScript, and there is no generator.
        """
        return self._made()[1].module()

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The weights alone, by name."""
        return state_dict(self._files.read(manifest.STATE))

    def predict(
        self,
        rows: Any,
        *,
        column: str = "prediction",
        probabilities: bool | str = False,
        unknown: int | None = None,
        batch_size: int = 4096,
    ) -> Any:
        """The rows with their predictions, as columns more.

            model.predict(frame)                       # pandas
            model.predict(spark.table("flats"))        # a Spark DataFrame: its executors predict

        rows: raw, as the dataset was made of, without its label: a pandas or Spark DataFrame (classic or
            Connect), a pyarrow Table, RecordBatch or RecordBatchReader, polars, or what has Arrow's PyCapsule
            interface. Other columns than the model's stay as they are.
        column: for the predictions: of a classifier the class (int64, or as the label was: strings,
            booleans), of a regression the value (float64), else the output (a list of float32).
        probabilities: of a classifier, a list of float32 a row, in the order of the classes: True adds
            "probabilities", a name a column of that name.
        unknown: the number for categories that training did not have. None: such a row is an error.
        batch_size: rows that the model gets at once.

        Returns a pandas DataFrame for one, a Spark DataFrame for one, which computes when it is read; a
        RecordBatchReader for one, which streams; else a pyarrow Table. Raises DataError, which names the
        column that is missing, has nulls, another type or an unknown category (on Spark the latter two when
        it computes).
        """
        key, program = self._made()
        if self._signature is None:
            raise DataError(
                f"the model {self.name} was trained without a dataset, so that its columns are not known; "
                "use model.module()"
            )
        wanted = wanted_of(self._signature, column, probabilities, unknown, batch_size)
        predictor = Predictor(key, program, self._signature)
        if type(rows).__module__.startswith("pyspark.sql"):
            from lethe.saved.spark import predicted

            return predicted(predictor, rows, wanted)
        return table.predicted(predictor, rows, wanted)

    def _made(self) -> tuple[str, Scripted | Generated]:
        if self._program is None:
            raise ModelError(
                f"the model at {self.url} was saved without TorchScript "
                f"({self.description['unscriptable']}); give its generator: lethe.load(…, model=make_model)"
            )
        return self._program

    def __repr__(self) -> str:
        columns = ", ".join(f"{name}: {kind}" for name, kind in list(self.columns.items())[:8])
        more = ", …" if len(self.columns) > 8 else ""
        return f"SavedModel({self.name}: {self.task}, columns: {columns}{more})"
