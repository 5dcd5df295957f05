"""`lethe.load`: a model that was saved, here or elsewhere."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from lethe.dataset.preprocessing import Preprocessing
from lethe.errors import ConfigError, ModelError
from lethe.saved import manifest
from lethe.saved.manifest import Manifest
from lethe.saved.model import SavedModel
from lethe.saved.program import Generated, Scripted
from lethe.saved.signature import Signature
from lethe.saved.store import Store
from lethe.saved.training import parsed
from lethe.session.find import active_session, session_of

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from lethe.model.inputs import Inputs


def load(
    path: str | os.PathLike[str],
    *,
    model: Callable[..., Any] | None = None,
    task: str | None = None,
    store_options: Mapping[str, str] | None = None,
    spark: SparkSession | None = None,
) -> SavedModel:
    """A model that `result.save` wrote. Its files are checked against their manifest, and no pickle is read.

        lethe.load("s3://models/flats").predict(df)

    path: a folder, or a URL of an object store.
    model: the generator that the model was trained with, for one that could not be saved as TorchScript: it
        is called with the model's hyperparameters, and gets the saved weights.
    task: what the outputs mean, where the experiment could not know: "classification" (logits
        `[rows, classes]`), "binary" (a logit a row), "regression" (a number a row) or "output" (as they are).
    store_options: of the store, as in `lagom`, beside those in the environment and, for s3://, the session's
        `spark.hadoop.fs.s3a.*`.
    spark: whose settings these are; None: the active session.

    Raises ModelError if there is no model, or it is not whole.
    """
    if model is not None and not callable(model):
        raise ConfigError(f"load: model must be the generator of the model, not {type(model).__name__}")
    session = session_of(spark) if spark is not None else active_session()
    store = Store(path, store_options, None if session is None else session.spark)
    files = Manifest(store)
    found = parsed(files.read(manifest.EXPERIMENT), f"{store.url}/{manifest.EXPERIMENT}")
    signature = _signature(store, files, found)
    program = _program(files, found, model)
    return SavedModel(
        store.url, files, found, None if signature is None else signature.of_task(task), program
    )


def _signature(store: Store, files: Manifest, found: dict[str, Any]) -> Signature | None:
    if found["predicts"] is None:
        return None
    text = files.read(manifest.PREPROCESSING)
    try:
        preprocessing = Preprocessing.parse(text.decode())
    except ValueError as error:
        raise ModelError(f"{store.url}/{manifest.PREPROCESSING} is no saved Preprocessing: {error}") from None
    return Signature.read(found["predicts"], preprocessing, files.read(manifest.SCHEMA))


def _program(
    files: Manifest, found: dict[str, Any], model: Callable[..., Any] | None
) -> tuple[str, Scripted | Generated] | None:
    """What makes the module, and what tells it from others; None if its generator is needed."""
    if model is not None:
        inputs = _inputs(found["inputs"])
        state = files.read(manifest.STATE)
        return secrets.token_hex(16), Generated(model, found["hparams"], inputs, found["trial_seed"], state)
    if manifest.PROGRAM not in files:
        return None
    content = files.read(manifest.PROGRAM)
    return hashlib.sha256(content).hexdigest(), Scripted(content)


def _inputs(found: Any) -> Inputs:
    """As the generator was told them: JSON has lists for tuples."""
    if isinstance(found, dict):
        return {name: tuple(one) if isinstance(one, list) else one for name, one in found.items()}
    return tuple(found) if isinstance(found, list) else found
