"""Keras models in Python functions: searched with a callback that stops, and ablated by their layers."""

import os
from typing import Any

import pyarrow as pa
import pytest

import lethe

os.environ.setdefault("KERAS_BACKEND", "torch")
pytest.importorskip("keras", reason="Keras is not installed")
pytestmark = pytest.mark.usefixtures("no_process_left")


@pytest.fixture
def dataset(digits: pa.Table) -> lethe.Dataset:
    return lethe.Dataset.from_arrow(digits, features="pixels", label="digit").split(validation=0.2, seed=7)


def make(hparams: dict[str, Any], inputs: int) -> Any:
    import keras

    return keras.Sequential(
        [
            keras.Input((inputs,)),
            keras.layers.Dense(hparams.get("width", 32), activation="relu", name="hidden"),
            keras.layers.Dense(hparams.get("width", 32), activation="relu", name="second"),
            keras.layers.Dense(10, name="out"),
        ]
    )


def fit(model: Any, dataset: Any, hparams: dict[str, Any], reporter: Any) -> None:
    import keras

    from lethe.callbacks.keras import KerasEpochEnd

    model.compile(
        optimizer=keras.optimizers.Adam(hparams["lr"]),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(
        *dataset.train.to_numpy(),
        validation_data=dataset.validation.to_numpy(),
        epochs=9,
        batch_size=64,
        verbose=0,
        callbacks=[KerasEpochEnd(reporter, "val_accuracy")],
    )


def function() -> lethe.Function:
    return lethe.Function(fit, make, epochs=9, environment={"KERAS_BACKEND": "torch"})


def test_a_search_stops_keras_in_the_midst(dataset: lethe.Dataset) -> None:
    space = lethe.SearchSpace(lr=lethe.loguniform(1e-4, 1e-1), width=lethe.integer(8, 64))
    search = lethe.Search(space, 6, "accuracy", "max", stopping=lethe.ASHA(reduction=3, pause=False), seed=2)
    result = lethe.lagom(function(), dataset, search, spark=False, slots=2, quiet=True)
    assert set(result.trials["state"]) == {"finished", "stopped"}, result.trials["error"].tolist()
    assert set(result.trials["epochs"][result.trials["state"] == "stopped"]) <= {1, 3}
    assert result.best is not None
    assert result.best.value > 0.8
    assert "val_loss" in result.best.metrics


def test_layers_of_keras_are_ablated_by_name(dataset: lethe.Dataset) -> None:
    study = lethe.Ablation(
        metric="accuracy",
        direction="max",
        base={"lr": 0.01, "width": 32},
        layers=["second"],
        hparams={"width": 2},
    )
    result = lethe.lagom(function(), dataset, study, spark=False, slots=2, quiet=True)
    assert list(result.trials["state"]) == ["finished"] * 3, result.trials["error"].tolist()
    assert result.ablation is not None
    # Two units lose more than a layer.
    assert result.ablation.components[0].name == "width=2"
    study = lethe.Ablation(metric="accuracy", direction="max", base={"lr": 0.01}, layers=["third"])
    with pytest.raises(lethe.ModelError, match="third"):
        lethe.lagom(function(), dataset, study, spark=False, quiet=True)
