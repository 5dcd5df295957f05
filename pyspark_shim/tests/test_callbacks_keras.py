"""Keras reports its epochs and batches, and ends when its trial does."""

import os
from typing import Any

import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras", reason="Keras is not installed")

import numpy as np  # noqa: E402
from reporting import Trial  # noqa: E402

import lethe  # noqa: E402
from lethe.callbacks.keras import KerasBatchEnd, KerasEpochEnd  # noqa: E402

RANDOM = np.random.default_rng(1)
X = RANDOM.normal(size=(64, 4)).astype("float32")
Y = (X[:, 0] > 0).astype("int32")
HELD_OUT = (X[:24], Y[:24])


class Seen(keras.callbacks.Callback):  # type: ignore[misc]
    """Comes before the report."""

    def __init__(self) -> None:
        super().__init__()
        self.epochs = 0
        self.batches: list[dict[str, float]] = []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epochs += 1

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.batches.append(dict(logs))


def compiled(**changes: Any) -> Any:
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, metrics=["accuracy"], **changes)
    return model


def fit(model: Any, *callbacks: Any, **arguments: Any) -> Any:
    return model.fit(X, Y, batch_size=16, verbose=0, callbacks=list(callbacks), **arguments).history


def test_epochs_are_reported_as_in_keras_history() -> None:
    trial = Trial("accuracy")
    history = fit(compiled(), KerasEpochEnd(trial.reporter), epochs=3, validation_data=HELD_OUT)
    assert trial.steps == [1, 2, 3]
    for place, values in enumerate(trial.values):
        assert values == {
            "accuracy": history["val_accuracy"][place],
            "train_accuracy": history["accuracy"][place],
            "loss": history["loss"][place],
            "val_loss": history["val_loss"][place],
        }


def test_batches_are_reported_as_keras_logs_them() -> None:
    trial, seen = Trial("loss"), Seen()
    fit(compiled(), seen, KerasBatchEnd(trial.reporter), epochs=2)
    assert trial.steps == list(range(1, 9))
    assert trial.values == seen.batches


def test_every_so_many_batches() -> None:
    trial, seen = Trial("cost"), Seen()
    fit(compiled(), seen, KerasBatchEnd(trial.reporter, every=3), epochs=2)
    assert trial.steps == [1, 2]
    assert [values["cost"] for values in trial.values] == [seen.batches[place]["loss"] for place in (2, 5)]


def test_batches_that_run_together_are_counted_each() -> None:
    # As fit calls it with steps_per_execution=2, which Keras with PyTorch has not.
    trial = Trial("loss")
    calls = keras.callbacks.CallbackList([KerasBatchEnd(trial.reporter)], steps=4, epochs=2)
    calls.on_train_begin()
    for epoch in range(2):
        calls.on_epoch_begin(epoch)
        for batch in (1, 3):
            calls.on_train_batch_end(batch, {"loss": batch})
    assert trial.steps == [2, 4, 6, 8]


def test_a_stopped_trial_ends_fit_after_its_epoch() -> None:
    trial, seen = Trial("loss", stop=2), Seen()
    with pytest.raises(lethe.TrialStopped):
        fit(compiled(), seen, KerasEpochEnd(trial.reporter, "val_loss"), epochs=9, validation_data=HELD_OUT)
    assert (trial.steps, seen.epochs, len(seen.batches)) == ([1, 2], 2, 8)


def test_a_stopped_trial_ends_fit_after_its_batch() -> None:
    trial, seen = Trial("loss", stop=2), Seen()
    with pytest.raises(lethe.TrialStopped):
        fit(compiled(), seen, KerasBatchEnd(trial.reporter), epochs=9)
    assert (trial.steps, len(seen.batches)) == ([1, 2], 2)


def test_missing_validation_is_said_after_the_first_epoch() -> None:
    trial, seen = Trial("accuracy"), Seen()
    expected = r"'val_accuracy' is not reported, but accuracy, loss; give fit its validation_data"
    with pytest.raises(ValueError, match=expected):
        fit(compiled(), seen, KerasEpochEnd(trial.reporter), epochs=9)
    assert seen.epochs == 1
    with pytest.raises(ValueError, match=r"'auc' is not reported, but accuracy, loss; take one of these"):
        fit(compiled(), KerasBatchEnd(trial.reporter, "auc"))


def test_epochs_without_validation_are_left_out_by_every() -> None:
    trial = Trial("loss")
    report = KerasEpochEnd(trial.reporter, "val_loss", every=2)
    history = fit(compiled(), report, epochs=5, validation_data=HELD_OUT, validation_freq=2)
    assert trial.steps == [1, 2]
    assert [values["loss"] for values in trial.values] == history["val_loss"]


@pytest.mark.parametrize("kind", [KerasEpochEnd, KerasBatchEnd])
def test_another_fit_and_a_later_beginning_go_on_with_the_count(kind: Any) -> None:
    length = 1 if kind is KerasEpochEnd else 4
    trial = Trial("loss")
    report, model = kind(trial.reporter, "loss"), compiled()
    fit(model, report, epochs=2)
    fit(model, report, epochs=1)
    assert trial.steps == list(range(1, 3 * length + 1))
    trial = Trial("loss")
    fit(model, kind(trial.reporter, "loss"), epochs=3, initial_epoch=2)
    assert trial.steps == list(range(2 * length + 1, 3 * length + 1))
    trial = Trial("loss")
    fit(model, kind(trial.reporter, "loss", start=10), epochs=1)
    assert trial.steps == list(range(11, 11 + length))
