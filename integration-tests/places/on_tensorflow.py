"""Keras on TensorFlow on several workers: `test_tensorflow.py` runs this with an interpreter that has it."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from gangs import Several, note, notes

import lethe

pytestmark = pytest.mark.usefixtures("no_process_left")
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "2"}
#: Of a batch, which two workers share evenly.
BATCH = 48


@pytest.fixture
def dataset(digits: pa.Table) -> lethe.Dataset:
    """289 rows to train on: the last batch has one."""
    small = digits.slice(0, 361)
    return lethe.Dataset.from_arrow(small, features="pixels", label="digit").split(validation=0.2, seed=3)


def function(train: Any, model: Any, **options: Any) -> lethe.Function:
    return lethe.Function(train, model, strategy="multi_worker_mirrored", environment=QUIET, **options)


def run(train: Any, dataset: lethe.Dataset | None, what: Any, **options: Any) -> lethe.Result:
    return lethe.lagom(train, dataset, what, **{"spark": False, "quiet": True, "slots": 2, **options})


def keras_of(kind: str) -> Any:
    import keras

    if kind != "keras 2":
        return keras
    import tf_keras

    return tf_keras


def make(hparams: dict[str, Any], inputs: int) -> Any:
    keras = keras_of(hparams["kind"])
    layers = keras.layers
    hidden = layers.Dense(16, activation="tanh")
    return keras.Sequential([layers.Input((inputs,)), hidden, layers.Dense(10)])


def compiled(model: Any, keras: Any) -> Any:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.SGD(0.1, momentum=0.9), loss=loss, metrics=["accuracy"])
    return model


def fit(model: Any, dataset: Any, hparams: dict[str, Any], reporter: Any) -> None:
    """By `to_tf()`, and then by arrays; what each worker has at the end."""
    import os

    keras = keras_of(hparams["kind"])
    compiled(model, keras)
    batches = dataset.train.to_tf(48, drop_last=True).map(lambda features, label: (features, label))
    features, labels = held_out = dataset.validation.to_numpy()
    for epoch in range(1, 4):
        model.fit(batches, epochs=1, verbose=0)
        loss, accuracy = model.evaluate(*held_out, verbose=0)
        reporter.broadcast({"loss": loss, "accuracy": accuracy}, epoch)
    inputs, targets = dataset.train.to_numpy()
    # Each worker shuffles them alike, but otherwise than one worker does.
    arrays = {"x": inputs[:288], "y": targets[:288], "batch_size": 48, "shuffle": False}
    history = model.fit(**arrays, validation_data=held_out, epochs=2, verbose=0).history
    predicted = model.predict(dataset.validation.to_tf(32), verbose=0)
    np.testing.assert_allclose(predicted, np.asarray(model(features)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(model.predict(features, verbose=0), predicted, rtol=1e-4, atol=1e-5)
    right = float((predicted.argmax(axis=1) == labels).mean())
    weights = [np.asarray(array).astype(float).sum() for array in model.get_weights()]
    rows = [len(label) for _, label in dataset.train.to_tf(48)]
    config = json.loads(os.environ.get("TF_CONFIG", "{}"))
    note(hparams, history=history, right=right, weights=weights, rows=rows, config=config)
    reporter.broadcast({"loss": history["val_loss"][-1], "accuracy": right}, 4)


@pytest.mark.parametrize("kind", ["keras", "keras 2"])
def test_two_workers_train_as_one(dataset: lethe.Dataset, tmp_path: Path, kind: str) -> None:
    # Also after a trial in the same interpreters, of which one or the other is the first then.
    points = [{"kind": kind, "notes": str(tmp_path)}]
    several = Several(metric="loss", direction="min", hparams=points, workers=(2, 1, 2))
    result = run(function(fit, make), dataset, several)
    assert set(result.trials["state"]) == {"finished"}, result.trials["error"].tolist()
    two, one, again = (
        history[["loss", "accuracy"]].to_numpy() for _, history in result.history.groupby("trial")
    )
    assert one[-1, 0] < one[0, 0]
    np.testing.assert_allclose(two, one, rtol=1e-4)
    np.testing.assert_allclose(again, one, rtol=1e-4)
    (alone,), ranks = notes(tmp_path, kind, 1), notes(tmp_path, kind, 2)
    assert alone["config"] == {}
    assert alone["rows"] == [48] * 6 + [1]
    assert [entry["config"]["task"]["index"] for entry in ranks] == [entry["rank"] for entry in ranks]
    for entry in ranks:
        assert entry["rows"] == [24] * 6, "as many steps on each, and no batch that one has nothing of"
        assert entry["weights"] == ranks[0 if entry["config"] == ranks[0]["config"] else -1]["weights"]
        np.testing.assert_allclose(entry["weights"], alone["weights"], rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(entry["history"]["val_loss"], alone["history"]["val_loss"], rtol=1e-3)
        np.testing.assert_allclose(entry["history"]["loss"], alone["history"]["loss"], rtol=1e-3)
